package memo

import "iter"

// Branch is a table that changes entry by entry. A fork of one shares with it
// every entry by which the two do not differ, whatever both become: such an
// entry costs the fork nothing.
//
// The zero Branch is empty, and no fork. It belongs to one goroutine.
type Branch[V comparable] struct {
	now     Table[V]
	of      *Branch[V]          // nil: no fork
	base    Table[V]            // what of was when this one followed it
	differs map[string]struct{} // keys by which now and base differ
	copied  int                 // entries put since the other nodes were base's
	behind  bool                // base has entries that now lacks
}

// Fork returns a Branch that is like b now. It may outlive changes of b.
func (b *Branch[V]) Fork() Branch[V] {
	return Branch[V]{now: b.now, of: b, base: b.now, differs: map[string]struct{}{}}
}

// Table returns the state at the last Settle.
func (b *Branch[V]) Table() Table[V] { return b.now }

// Follow takes a fork to the present state of what it was forked from, and
// yields what changed there. Each such key has to be Put, and then Settle
// called. No fork follows anything.
func (b *Branch[V]) Follow() iter.Seq[Change[V]] {
	was := b.base
	if b.of != nil {
		b.base = b.of.now
	}
	return Diff(was, b.base)
}

// Put sets the entry of key, or removes it where ok is false. It reports
// whether the entry began or ceased to differ from the one it was forked from.
func (b *Branch[V]) Put(key string, value V, ok bool) (turned bool) {
	differs, turned := b.compare(key, value, ok)
	switch {
	case b.of != nil && !differs && len(b.differs) == 0:
		b.behind = true // Settle takes all of base
	case ok:
		b.now = b.now.With(key, value)
		b.copied++
	default:
		b.now = b.now.Without(key)
		b.copied++
	}
	return turned
}

// Fill puts the entries of t into an empty Branch, at less cost than one by one.
func (b *Branch[V]) Fill(t Table[V]) {
	if b.of == nil {
		b.now = t
		return
	}
	for k, v := range t.All() {
		b.Put(k, v, true)
	}
}

// compare notes whether the entry differs from base's.
func (b *Branch[V]) compare(key string, value V, ok bool) (differs, turned bool) {
	if b.of == nil {
		return false, false
	}
	was, had := b.base.Get(key)
	differs = ok != had || ok && value != was
	if _, did := b.differs[key]; did == differs {
		return differs, false
	}
	if differs {
		b.differs[key] = struct{}{}
	} else {
		delete(b.differs, key)
	}
	return differs, true
}

// Settle ends a number of changes. Nodes that were copied on the way to
// entries of base are given up for base's own once they are many.
func (b *Branch[V]) Settle() {
	if b.of == nil || len(b.differs) > 0 && !b.behind && b.copied <= 2*len(b.differs) {
		return
	}
	now := b.base
	for key := range b.differs {
		if v, ok := b.now.Get(key); ok {
			now = now.With(key, v)
		} else {
			now = now.Without(key)
		}
	}
	b.now, b.copied, b.behind = now, 0, false
}
