package memo

// Union is a cell that joins tables whose keys may overlap.
type Union[V comparable] struct {
	Cell[V]
	parts []*Cell[V]
}

// NewUnion joins parts: of entries with one key the earlier part's wins.
func NewUnion[V comparable](g *Graph, parts ...*Cell[V]) *Union[V] {
	u := &Union[V]{parts: parts}
	at, from := add(g, u)
	if from != nil {
		u.join(g, at, &from.Cell)
	} else {
		u.join(g, at, nil)
	}
	return u
}

func (u *Union[V]) update() {
	keys := map[string]struct{}{}
	for _, part := range u.parts {
		for _, ch := range part.changes {
			keys[ch.Key] = struct{}{}
		}
	}
	for ch := range u.state.Follow() {
		keys[ch.Key] = struct{}{}
	}
	if len(keys) == 0 {
		return
	}
	before := u.state.now
	if before.Len() == 0 && u.from == nil {
		u.state.now = Collect(u.all)
	} else {
		for key := range keys {
			v, ok := u.first(key)
			u.put(key, v, ok)
		}
		u.state.Settle()
	}
	u.reportAll(before, u.state.now)
}

// all yields the entries of all parts.
func (u *Union[V]) all(yield func(string, V) bool) {
	for _, part := range u.parts {
		for k, v := range part.state.now.All() {
			if !yield(k, v) {
				return
			}
		}
	}
}

func (u *Union[V]) first(key string) (v V, ok bool) {
	for _, part := range u.parts {
		if v, ok = part.state.now.Get(key); ok {
			break
		}
	}
	return v, ok
}
