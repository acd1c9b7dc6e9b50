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
	nodes []interface{ update() }
	done  []interface{ settle() }
}

// Run brings every derived table up to date, in the order of creation.
func (g *Graph) Run() {
	for _, n := range g.nodes {
		n.update()
	}
	for _, n := range g.done {
		n.settle()
	}
}

// Cell is a table in a graph, given (NewInput) or derived. V is compared by
// ==, so it is usually a pointer to an immutable value.
type Cell[V comparable] struct {
	now     Table[V]
	changes []Change[V]        // of the current Run
	readers map[string]readers // who read which key
	all     readers            // who read all of it
}

type reader interface{ touch(key string) }

// readers are the entries of derived tables to run again. Most keys have one
// reader, which then costs no map.
type readers struct {
	one  readerKey
	more map[readerKey]struct{} // set: all of them, and one is unused
}

func (rs readers) with(r readerKey) readers {
	switch {
	case rs.more != nil:
		rs.more[r] = struct{}{}
	case rs.one.of == nil:
		rs.one = r
	case rs.one != r:
		rs = readers{more: map[readerKey]struct{}{rs.one: {}, r: {}}}
	}
	return rs
}

func (rs readers) without(r readerKey) readers {
	if rs.more != nil {
		if delete(rs.more, r); len(rs.more) == 0 {
			return readers{}
		}
		return rs
	}
	if rs.one == r {
		return readers{}
	}
	return rs
}

func (rs readers) none() bool { return rs.one.of == nil && rs.more == nil }

func (rs readers) touch() {
	if rs.one.of != nil {
		rs.one.of.touch(rs.one.key)
	}
	for r := range rs.more {
		r.of.touch(r.key)
	}
}

type readerKey struct {
	of  reader
	key string
}

// Table returns the state after the last Run (for an input: after Set).
func (c *Cell[V]) Table() Table[V] { return c.now }

// Input is a cell whose table is given from outside.
type Input[V comparable] struct {
	Cell[V]
	next Table[V]
}

// NewInput adds an empty input to g.
func NewInput[V comparable](g *Graph) *Input[V] {
	in := &Input[V]{}
	g.nodes = append(g.nodes, in)
	g.done = append(g.done, &in.Cell)
	return in
}

// Set gives the table that the next Run sees.
func (in *Input[V]) Set(t Table[V]) { in.next = t }

func (in *Input[V]) update() {
	for ch := range Diff(in.now, in.next) {
		in.report(ch)
	}
	in.now = in.next
}

// report records a change and marks all who read the key.
func (c *Cell[V]) report(ch Change[V]) {
	c.changes = append(c.changes, ch)
	c.readers[ch.Key].touch()
	c.all.touch()
}

func (c *Cell[V]) settle() { c.changes = nil }

func (c *Cell[V]) watch(key string, r readerKey) {
	if c.readers == nil {
		c.readers = map[string]readers{}
	}
	c.readers[key] = c.readers[key].with(r)
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
}

// readMark is one thing that was read: a key of a cell, or all of it.
type readMark struct {
	cell interface{ unwatch(m readMark, r readerKey) }
	key  string
	all  bool
}

// Get reads one key of c, now and as a dependency (its absence too). c must
// have been added to the graph before the reading function.
func Get[V comparable](r *Reader, c *Cell[V], key string) (V, bool) {
	if r.first(readMark{cell: c, key: key}) {
		c.watch(key, r.me)
	}
	return c.now.Get(key)
}

// All reads a whole table: the function runs again at every change of it. Use
// it for small tables.
func All[V comparable](r *Reader, c *Cell[V]) Table[V] {
	if r.first(readMark{cell: c, all: true}) {
		c.all = c.all.with(r.me)
	}
	return c.now
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
