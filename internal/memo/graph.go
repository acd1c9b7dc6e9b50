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

// readers are the entries of derived tables to run again.
type readers map[readerKey]struct{}

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
	for r := range c.readers[ch.Key] {
		r.of.touch(r.key)
	}
	for r := range c.all {
		r.of.touch(r.key)
	}
}

func (c *Cell[V]) settle() { c.changes = nil }

func (c *Cell[V]) watch(key string, r readerKey) {
	if c.readers == nil {
		c.readers = map[string]readers{}
	}
	if c.readers[key] == nil {
		c.readers[key] = readers{}
	}
	c.readers[key][r] = struct{}{}
}

func (c *Cell[V]) unwatch(key string, r readerKey) {
	delete(c.readers[key], r)
	if len(c.readers[key]) == 0 {
		delete(c.readers, key)
	}
}

func (c *Cell[V]) watchAll(r readerKey) {
	if c.all == nil {
		c.all = readers{}
	}
	c.all[r] = struct{}{}
}

func (c *Cell[V]) unwatchAll(r readerKey) { delete(c.all, r) }

// Reader is given to a function of one entry; it reads other tables and
// records that it did. It must not be kept after the function returns.
type Reader struct {
	me     readerKey
	forget []func()
	seen   map[readMark]struct{}
}

type readMark struct {
	cell any
	key  string
	all  bool
}

// Get reads one key of c, now and as a dependency (its absence too). c must
// have been added to the graph before the reading function.
func Get[V comparable](r *Reader, c *Cell[V], key string) (V, bool) {
	if r.first(readMark{cell: c, key: key}) {
		me := r.me
		c.watch(key, me)
		r.forget = append(r.forget, func() { c.unwatch(key, me) })
	}
	return c.now.Get(key)
}

// All reads a whole table: the function runs again at every change of it. Use
// it for small tables.
func All[V comparable](r *Reader, c *Cell[V]) Table[V] {
	if r.first(readMark{cell: c, all: true}) {
		me := r.me
		c.watchAll(me)
		r.forget = append(r.forget, func() { c.unwatchAll(me) })
	}
	return c.now
}

func (r *Reader) first(m readMark) bool {
	if _, ok := r.seen[m]; ok {
		return false
	}
	if r.seen == nil {
		r.seen = map[readMark]struct{}{}
	}
	r.seen[m] = struct{}{}
	return true
}
