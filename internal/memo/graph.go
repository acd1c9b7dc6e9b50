// Package memo keeps derived tables up to date at a cost that follows the
// change and not the size of the mesh (law 3 of the design).
//
// In: immutable tables (Table) and pure functions of one entry. Out: immutable
// tables of results. A function may read other tables only through its Reader,
// which records what was read; it runs again exactly when its own entry or
// something it read differs. The result equals that of a run from nothing.
//
// A Graph and its nodes belong to one goroutine; the tables they give out may
// be shared. Imports: the standard library only.
package memo

import "slices"

// Graph is an ordered list of derived tables. Build it once with NewInput,
// Map, Flat and Group; then Set inputs and Run, as often as wanted.
type Graph struct {
	nodes []part
	base  *Graph // what it was forked from; nil: nothing
}

// part is a cell with what keeps it up to date.
type part interface {
	update()
	settle()
	differs(m readMark) bool
	touch(key string)
}

// Fork returns an empty graph, in which the same nodes must be created, in the
// same order, as in g. Each begins as that of g is, and from then on holds of
// its own only what differs: entries that read something by which the two
// graphs differ, in their inputs or what came of them. The functions are those
// of the fork, but an entry that read nothing of that kind is not run again.
// So they must read all that they depend on by their Reader.
//
// A fork has the same results as a graph of its own, whenever either is run;
// it costs little while both are run on states of which most is shared. It
// belongs to the goroutine of g. A fork cannot be forked.
func (g *Graph) Fork() *Graph { return &Graph{base: g} }

// add puts n into g, and returns the place and what n is a fork of, if g is
// one.
func add[N part](g *Graph, n N) (at int, of N) {
	at = len(g.nodes)
	if g.base != nil {
		of = g.base.nodes[at].(N)
	}
	g.nodes = append(g.nodes, n)
	return at, of
}

// Run brings every derived table up to date, in the order of creation.
func (g *Graph) Run() {
	for _, n := range g.nodes {
		n.update()
	}
	for _, n := range g.nodes {
		n.settle()
	}
}

// Cell is a table in a graph, given (NewInput) or derived. V is compared by
// ==, so it is usually a pointer to an immutable value.
type Cell[V comparable] struct {
	state   Branch[V]
	graph   *Graph
	at      int                // among the graph's nodes
	from    *Cell[V]           // what it stands for in a fork, or nil
	changes []Change[V]        // of the current Run
	readers map[string]readers // who read which key
	all     readers            // who read all of it
}

// Table returns the state after the last Run (for an input: after Set).
func (c *Cell[V]) Table() Table[V] { return c.state.now }

// join makes c the cell at a place of g.
func (c *Cell[V]) join(g *Graph, at int, from *Cell[V]) {
	c.graph, c.at = g, at
	if from != nil {
		c.from, c.state = from, from.state.Fork()
	}
}

func (c *Cell[V]) place() int { return c.at }

// touch is for nodes that read nothing.
func (c *Cell[V]) touch(string) {}

// Input is a cell whose table is given from outside.
type Input[V comparable] struct {
	Cell[V]
	next Table[V]
}

// NewInput adds an empty input to g.
func NewInput[V comparable](g *Graph) *Input[V] {
	in := &Input[V]{}
	at, of := add(g, in)
	if of != nil {
		in.join(g, at, &of.Cell)
		in.next = in.state.now
		return in
	}
	in.join(g, at, nil)
	return in
}

// Set gives the table that the next Run sees.
func (in *Input[V]) Set(t Table[V]) { in.next = t }

func (in *Input[V]) update() {
	before := in.state.now
	in.state.now = in.next
	moved := in.state.Follow()
	if in.from != nil && (in.next != in.state.base || len(in.state.differs) > 0) {
		for ch := range moved {
			in.compare(ch.Key)
		}
		for ch := range Diff(before, in.next) {
			in.compare(ch.Key)
		}
	}
	in.reportAll(before, in.next)
}

func (in *Input[V]) compare(key string) {
	v, ok := in.next.Get(key)
	if _, turned := in.state.compare(key, v, ok); turned {
		in.turned(key)
	}
}

// reportAll records the changes from before to now and marks all who read those keys.
func (c *Cell[V]) reportAll(before, now Table[V]) {
	if before.Len() == 0 {
		c.changes = make([]Change[V], 0, now.Len())
	}
	for ch := range Diff(before, now) {
		c.changes = append(c.changes, ch)
		if len(c.readers) > 0 {
			c.readers[ch.Key].touch(c.graph, readMark{cell: c, key: ch.Key})
		}
	}
	if len(c.changes) > 0 {
		c.all.touch(c.graph, readMark{cell: c, all: true})
	}
}

// turned marks, in a fork, what has the entry of key shared or not shared now:
// all that stands for a reader of it in the other graph.
func (c *Cell[V]) turned(key string) {
	c.from.readers[key].touch(c.graph, readMark{cell: c.from, key: key})
	c.from.all.touch(c.graph, readMark{cell: c.from, all: true})
}

// put sets an entry, and marks whom that concerns beside its own readers.
func (c *Cell[V]) put(key string, v V, ok bool) {
	if c.state.Put(key, v, ok) {
		c.turned(key)
	}
}

// differs reports whether what m reads in the other graph is another here.
func (c *Cell[V]) differs(m readMark) bool {
	if m.all {
		return len(c.state.differs) > 0
	}
	_, ok := c.state.differs[m.key]
	return ok
}

func (c *Cell[V]) settle() { c.changes = nil }

func (c *Cell[V]) watch(key string, r readerKey) {
	if c.readers == nil {
		c.readers = map[string]readers{}
	}
	if before := c.readers[key]; before.more != nil {
		before.more.add(r)
	} else {
		c.readers[key] = before.with(r)
	}
}

func (c *Cell[V]) unwatch(m readMark, r readerKey) {
	if m.all {
		c.all = c.all.without(r)
		return
	}
	if left := c.readers[m.key].without(r); left.none() {
		delete(c.readers, m.key)
	} else {
		c.readers[m.key] = left
	}
}

// Reader is given to a function of one entry; it reads other tables and
// records that it did. It must not be kept after the function returns.
type Reader struct {
	me    readerKey
	marks []readMark
	seen  map[readMark]struct{} // of marks, once they are many
	last  []readMark            // what was noted last; nobody writes to it
}

// of readies r for an entry.
func (r *Reader) of(me readerKey) *Reader {
	r.me, r.marks, r.seen = me, r.marks[:0], nil
	return r
}

// noted gives the marks, to be kept. Entries that read the same one after
// another, as most of a table do, share them.
func (r *Reader) noted() []readMark {
	if !slices.Equal(r.marks, r.last) {
		r.last = slices.Clone(r.marks)
	}
	return r.last
}

// readMark is one thing that was read: a key of a cell, or all of it.
type readMark struct {
	cell interface {
		unwatch(m readMark, r readerKey)
		place() int
	}
	key string
	all bool
}

// Get reads one key of c, now and as a dependency (its absence too). c must
// have been added to the graph before the reading function.
func Get[V comparable](r *Reader, c *Cell[V], key string) (V, bool) {
	if r.first(readMark{cell: c, key: key}) {
		c.watch(key, r.me)
	}
	return c.state.now.Get(key)
}

// All reads a whole table: the function runs again at every change of it. Use
// it for small tables.
func All[V comparable](r *Reader, c *Cell[V]) Table[V] {
	if r.first(readMark{cell: c, all: true}) {
		c.all = c.all.with(r.me)
	}
	return c.state.now
}

// fewMarks are looked through one by one.
const fewMarks = 12

// first notes m and reports whether it was not noted before.
func (r *Reader) first(m readMark) bool {
	if r.seen == nil {
		if slices.Contains(r.marks, m) {
			return false
		}
	} else if _, ok := r.seen[m]; ok {
		return false
	}
	r.marks = append(r.marks, m)
	if r.seen == nil && len(r.marks) > fewMarks {
		r.seen = map[readMark]struct{}{}
		for _, each := range r.marks {
			r.seen[each] = struct{}{}
		}
	} else if r.seen != nil {
		r.seen[m] = struct{}{}
	}
	return true
}
