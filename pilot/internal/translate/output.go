package translate

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// source gives the resources made from one kind of entry, by name.
type source func(typeURL string) *memo.Cell[*rendered]

// output gathers the resources of one type: the good ones, and of those that
// Envoy would refuse the last good state.
type output struct {
	typeURL string
	parts   []*memo.Cell[*rendered]
	seen    []memo.Table[*rendered]
	good    memo.Branch[*snapshot.Resource]
	bad     memo.Table[*Problem]
}

func newOutput(typeURL string, sources ...source) *output {
	o := &output{typeURL: typeURL, seen: make([]memo.Table[*rendered], len(sources))}
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
	if o.good.Table().Len() == 0 && o.bad.Len() == 0 && len(o.parts) == 1 {
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

// fill is settle where nothing was: the resources come at once.
func (o *output) fill() {
	o.seen[0] = o.parts[0].Table()
	o.good.Fill(func(yield func(string, *snapshot.Resource) bool) {
		for name, r := range o.seen[0].All() {
			if r.problem != "" {
				o.put(name, r)
			} else if !yield(name, r.resource) {
				return
			}
		}
	})
}

func (o *output) put(name string, r *rendered) {
	o.bad = o.bad.Without(name)
	switch {
	case r == nil:
		o.good.Put(name, nil, false)
	case r.problem != "":
		o.bad = o.bad.With(name, &Problem{Type: o.typeURL, Name: name, Sources: r.resource.Sources, Reason: r.problem})
	default:
		o.good.Put(name, r.resource, true)
	}
}

// each translates the entries of a table one by one; a message without body is
// left out.
func each[V comparable](t *Translator, in *memo.Input[V], f func(*builder, V) message) source {
	return func(typeURL string) *memo.Cell[*rendered] {
		d := memo.Flat(t.graph, &in.Cell, func(r *memo.Reader, _ string, v V, emit memo.Emit[*rendered]) {
			sh, _ := memo.Get(r, &t.in.shared.Cell, "")
			b := &builder{shared: sh}
			if m := f(b, v); m.body != nil {
				emit(m.name, b.render(typeURL, m))
			}
		}, memo.Same(sameRendered))
		return &d.Cell
	}
}

// fixed translates what every proxy of the class has.
func fixed(t *Translator, f func(*builder) []message) source {
	return func(typeURL string) *memo.Cell[*rendered] {
		d := memo.Flat(t.graph, &t.in.shared.Cell, func(_ *memo.Reader, _ string, sh shared, emit memo.Emit[*rendered]) {
			emitAll(typeURL, emit, &builder{shared: sh}, f)
		}, memo.Same(sameRendered))
		return &d.Cell
	}
}

// inboundOf translates the server side of a sidecar.
func inboundOf(t *Translator, f func(*builder, *model.Inbound) []message) source {
	return func(typeURL string) *memo.Cell[*rendered] {
		d := memo.Flat(t.graph, &t.in.inbound.Cell, func(r *memo.Reader, _ string, in *model.Inbound, emit memo.Emit[*rendered]) {
			sh, _ := memo.Get(r, &t.in.shared.Cell, "")
			emitAll(typeURL, emit, &builder{shared: sh}, func(b *builder) []message { return f(b, in) })
		}, memo.Same(sameRendered))
		return &d.Cell
	}
}

func emitAll(typeURL string, emit memo.Emit[*rendered], b *builder, f func(*builder) []message) {
	for _, m := range f(b) {
		emit(m.name, b.render(typeURL, m))
	}
}
