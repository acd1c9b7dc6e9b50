package translate

import (
	"cmp"
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// source gives the resources made from one kind of entry, by name.
type source func(typeURL string) *memo.Cell[rendered]

// output gathers the resources of one type: the good ones, and of those that
// Envoy would refuse the last good state.
type output struct {
	typeURL string
	parts   []*memo.Cell[rendered]
	seen    []memo.Table[rendered]
	good    memo.Branch[*snapshot.Resource]
	bad     memo.Table[*[]Problem]
}

func newOutput(typeURL string, sources ...source) *output {
	o := &output{typeURL: typeURL, seen: make([]memo.Table[rendered], len(sources))}
	for _, s := range sources {
		o.parts = append(o.parts, s(typeURL))
	}
	return o
}

// fork makes o, which has settled nothing yet, what from is now.
func (o *output) fork(from *output) {
	o.seen, o.good, o.bad = slices.Clone(from.seen), from.good.Fork(), from.bad
}

// settle takes over what changed in the last run.
func (o *output) settle() {
	for ch := range o.good.Follow() {
		now, ok := o.good.Table().Get(ch.Key)
		o.good.Put(ch.Key, now, ok)
	}
	defer o.good.Settle()
	if o.good.Table().Len() == 0 && o.bad.Len() == 0 && o.onlyFirst() {
		o.fill()
		return
	}
	for i, part := range o.parts {
		for ch := range memo.Diff(o.seen[i], part.Table()) {
			o.put(ch.Key, ch.New)
		}
		o.seen[i] = part.Table()
	}
}

// onlyFirst reports whether no part but the first has anything, or had.
func (o *output) onlyFirst() bool {
	for i := 1; i < len(o.parts); i++ {
		if o.parts[i].Table().Len() > 0 || o.seen[i].Len() > 0 {
			return false
		}
	}
	return len(o.parts) > 0
}

// fill is settle where nothing was: the resources come at once.
func (o *output) fill() {
	o.seen[0] = o.parts[0].Table()
	o.good.Fill(memo.Mapped(o.seen[0], func(name string, r rendered) (*snapshot.Resource, bool) {
		o.note(name, r)
		n := r.notes()
		return r.resource, n.problem == "" && !n.gone
	}))
}

func (o *output) put(name string, r rendered) {
	o.note(name, r)
	switch n := r.notes(); {
	case r.resource == nil || n.gone:
		o.good.Put(name, nil, false)
	case n.problem == "":
		o.good.Put(name, r.resource, true)
	}
}

// note keeps what is wrong with a resource.
func (o *output) note(name string, r rendered) {
	o.bad = o.bad.Without(name)
	if r.noted == nil {
		return
	}
	if list := o.problems(name, r); len(list) > 0 {
		o.bad = o.bad.With(name, &list)
	}
}

func (o *output) problems(name string, r rendered) (out []Problem) {
	n := r.notes()
	if n.problem != "" {
		out = append(out, Problem{Type: o.typeURL, Name: name, Sources: r.resource.Sources, Reason: n.problem})
	}
	for _, f := range n.faults {
		out = append(out, Problem{Type: o.typeURL, Name: r.resource.Name, Sources: []string{f.Source}, Reason: f.Reason, Patch: &f.Index})
	}
	return out
}

// builder makes messages by what r reads, until the next is asked for.
func (t *Translator) builder(r *memo.Reader) *builder {
	sh, _ := memo.Get(r, &t.in.shared.Cell, "")
	if t.trunks.made == nil || t.trunks.of != sh {
		t.trunks = trunks{of: sh, made: map[any][]byte{}}
	}
	t.work = builder{shared: sh, trunks: t.trunks.made, of: t, r: r, written: t.work.written}
	return &t.work
}

// every reads all entries of a table, in order.
func every[V comparable](r *memo.Reader, in *memo.Input[V]) (all []V) {
	for _, v := range memo.All(r, &in.Cell).All() {
		all = append(all, v)
	}
	return all
}

// each translates the entries of a table one by one; a message without body is
// left out.
func each[V comparable](t *Translator, in *memo.Input[V], f func(*builder, V) message) source {
	return func(typeURL string) *memo.Cell[rendered] {
		d := memo.Flat(t.graph, &in.Cell, func(r *memo.Reader, key string, v V, emit memo.Emit[rendered]) {
			b := t.builder(r)
			if m := f(b, v); m.body != nil {
				m.name = cmp.Or(m.name, key)
				emit(m.name, t.finish(r, b, typeURL, m))
			}
		}, memo.Same(sameRendered))
		return &d.Cell
	}
}

// several translates the entries of a table one by one, each into any number of
// messages.
func several[V comparable](t *Translator, in *memo.Input[V], f func(*builder, V) []message) source {
	return func(typeURL string) *memo.Cell[rendered] {
		d := memo.Flat(t.graph, &in.Cell, func(r *memo.Reader, _ string, v V, emit memo.Emit[rendered]) {
			b := t.builder(r)
			for _, m := range f(b, v) {
				emit(m.name, t.finish(r, b, typeURL, m))
			}
		}, memo.Same(sameRendered))
		return &d.Cell
	}
}

// fixed translates what every proxy of the class has.
func fixed(t *Translator, f func(*builder) []message) source {
	return several(t, t.in.shared, func(b *builder, _ shared) []message { return f(b) })
}
