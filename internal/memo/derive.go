package memo

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

// Emit adds one entry to what a Flat function gives for its input entry.
type Emit[W comparable] func(key string, value W)

// Derived is a cell computed from another.
type Derived[V, W comparable] struct {
	Cell[W]
	over  *Cell[V]
	f     func(r *Reader, key string, value V, emit Emit[W])
	same  func(a, b W) bool
	dirty map[string]struct{}
	kept  map[string]*entry[W] // by key of over; in a fork only its own
	// claims holds, for an output key, the other input keys that give it, in
	// order. Of all that give it the first wins.
	claims  map[string][]string
	running running[W]
	reader  Reader  // of the entry that runs
	emit    Emit[W] // give, made once
	log     runLog[W]
	fork    derivedFork[V, W]
}

// running is the entry for which f runs: what it gave before, and gives now.
type running[W comparable] struct {
	key       string
	old, next *entry[W]
}

// entry is what one input entry read and gave.
type entry[W comparable] struct {
	read []readMark
	outputs[W]
}

// outputs are results by key. Most entries have one, which then costs no map.
type outputs[W comparable] struct {
	some bool
	key  string
	one  W
	more map[string]W // beside the one
}

func (o *outputs[W]) get(key string) (W, bool) {
	if o.some && o.key == key {
		return o.one, true
	}
	w, ok := o.more[key]
	return w, ok
}

func (o *outputs[W]) put(key string, w W) {
	switch {
	case !o.some || o.key == key:
		o.some, o.key, o.one = true, key, w
	case o.more == nil:
		o.more = map[string]W{key: w}
	default:
		o.more[key] = w
	}
}

func (o *outputs[W]) keys(yield func(string) bool) {
	if o.some && !yield(o.key) {
		return
	}
	for k := range o.more {
		if !yield(k) {
			return
		}
	}
}

// Option changes how a derived table is kept.
type Option[W comparable] func(*derivedOptions[W])

type derivedOptions[W comparable] struct{ same func(a, b W) bool }

// Same sets the test by which a new result counts as unchanged, so that
// nothing downstream runs again; without it results are compared by ==.
func Same[W comparable](same func(a, b W) bool) Option[W] {
	return func(o *derivedOptions[W]) { o.same = same }
}

// Map derives a table with the keys of over: f(r, key, value) gives an
// entry's result, or false for none. f must be pure.
func Map[V, W comparable](g *Graph, over *Cell[V], f func(r *Reader, key string, value V) (W, bool), opts ...Option[W]) *Derived[V, W] {
	return Flat(g, over, func(r *Reader, key string, value V, emit Emit[W]) {
		if w, ok := f(r, key, value); ok {
			emit(key, w)
		}
	}, opts...)
}

// Flat derives a table where one entry of over gives any number of entries,
// with keys of their own. Where two entries give the same key, the one with
// the lower input key wins. f must be pure and must not keep emit.
func Flat[V, W comparable](g *Graph, over *Cell[V], f func(r *Reader, key string, value V, emit Emit[W]), opts ...Option[W]) *Derived[V, W] {
	var o derivedOptions[W]
	for _, opt := range opts {
		opt(&o)
	}
	d := &Derived[V, W]{over: over, f: f, same: o.same, claims: map[string][]string{}}
	d.emit = d.give
	at, of := add(g, d)
	if of != nil {
		d.join(g, at, &of.Cell)
		d.fork = derivedFork[V, W]{of: of, seen: of.log.count}
	} else {
		d.join(g, at, nil)
	}
	return d
}

func (d *Derived[V, W]) touch(key string) {
	if d.dirty == nil {
		d.dirty = map[string]struct{}{}
	}
	d.dirty[key] = struct{}{}
}

func (d *Derived[V, W]) entries() int { return len(d.kept) }

func (d *Derived[V, W]) reading(m readMark) iter.Seq[string] {
	return func(yield func(string) bool) {
		for key, e := range d.kept {
			if slices.Contains(e.read, m) && !yield(key) {
				return
			}
		}
	}
}

func (d *Derived[V, W]) update() {
	if len(d.over.changes) == 0 && len(d.dirty) == 0 && !d.lags() {
		return
	}
	before := d.state.now
	if d.fork.of == nil && before.Len() == 0 && len(d.kept) == 0 { // a table that stays empty goes by what changes, too
		d.fill()
	} else {
		outs := map[string]struct{}{}
		if d.lags() {
			d.follow(outs)
		}
		d.run(outs)
		for key := range outs {
			d.settleKey(key)
		}
		d.state.Settle()
		d.changes = slices.Grow(d.changes, len(outs))
	}
	d.reportAll(before, d.state.now)
}

// fill is update where nothing was: the table is made at once.
func (d *Derived[V, W]) fill() {
	d.kept = make(map[string]*entry[W], len(d.over.changes))
	d.run(nil)
	d.state.now = d.settled()
}

// run runs f for all entries that changed or read something that did.
func (d *Derived[V, W]) run(outs map[string]struct{}) {
	if len(d.dirty) == 0 {
		d.begin(len(d.over.changes))
		for _, ch := range d.over.changes {
			d.runOne(ch.Key, ch.New, ch.InNew, outs)
		}
		return
	}
	for _, ch := range d.over.changes {
		d.touch(ch.Key)
	}
	d.begin(len(d.dirty))
	for key := range d.dirty {
		value, ok := d.over.state.now.Get(key)
		d.runOne(key, value, ok, outs)
	}
	// A map that was once large costs its size to clear, at every run.
	d.dirty = nil
}

func (d *Derived[V, W]) begin(entries int) {
	if d.kept == nil {
		d.kept = map[string]*entry[W]{}
	}
	if d.fork.of == nil {
		d.log.begin(entries)
	}
}

func (d *Derived[V, W]) runOne(key string, value V, ok bool, outs map[string]struct{}) {
	if !d.stays(key, outs) {
		d.log.add(key, d.kept[key])
		d.again(key, value, ok, outs)
	}
}

// again runs f for one input entry, for its new state: value, if ok says that
// there is one. It notes in outs, unless that is nil, the output keys that the
// entry gave before or gives now.
func (d *Derived[V, W]) again(key string, value V, ok bool, outs map[string]struct{}) {
	old := d.kept[key]
	if old != nil {
		for _, m := range old.read {
			m.cell.unwatch(m, readerKey{of: d, key: key})
		}
		for k := range old.keys {
			d.unclaim(k, key)
		}
		old.note(outs)
		delete(d.kept, key)
	}
	if d.shares(key) {
		return
	}
	if !ok {
		d.hide(key)
		return
	}
	next := &entry[W]{}
	d.running = running[W]{key: key, old: old, next: next}
	d.f(d.reader.of(readerKey{of: d, key: key}), key, value, d.emit)
	d.running = running[W]{}
	next.note(outs)
	next.read = d.reader.noted()
	d.kept[key] = next
}

// give takes a result of the entry that runs.
func (d *Derived[V, W]) give(k string, w W) {
	if old := d.running.old; old != nil && d.same != nil {
		if was, ok := old.get(k); ok && d.same(was, w) {
			w = was
		}
	}
	if _, twice := d.running.next.get(k); !twice {
		d.claim(k, d.running.key)
	}
	d.running.next.put(k, w)
}

func (d *Derived[V, W]) claim(out, by string) {
	if out == by {
		return
	}
	at, _ := slices.BinarySearch(d.claims[out], by)
	d.claims[out] = slices.Insert(d.claims[out], at, by)
}

func (d *Derived[V, W]) unclaim(out, by string) {
	if out == by {
		return
	}
	if at, ok := slices.BinarySearch(d.claims[out], by); ok {
		d.claims[out] = slices.Delete(d.claims[out], at, at+1)
	}
	if len(d.claims[out]) == 0 {
		delete(d.claims, out)
	}
}

// claimers are the input keys that give an output key, in order.
func (d *Derived[V, W]) claimers(out string) iter.Seq[string] {
	return func(yield func(string) bool) {
		own := false
		if e := d.kept[out]; e != nil {
			_, own = e.get(out)
		}
		for _, by := range d.claims[out] {
			if own && out < by {
				if own = false; !yield(out) {
					return
				}
			}
			if !yield(by) {
				return
			}
		}
		if own {
			yield(out)
		}
	}
}

func (d *Derived[V, W]) settleKey(out string) {
	w, ok, own := d.winner(out)
	if ok && d.fork.of != nil {
		w = d.known(out, w, own)
	}
	d.put(out, w, ok)
}

// settled is the whole table, made at once.
func (d *Derived[V, W]) settled() Table[W] {
	own := func(key string, _ V) (w W, ok bool) {
		if e := d.kept[key]; e != nil && len(d.claims[key]) == 0 {
			w, ok = e.get(key)
		}
		return w, ok
	}
	if len(d.claims) == 0 {
		return Mapped(d.over.state.now, own)
	}
	entries := make([]pair[W], 0, len(d.kept))
	for key, v := range d.over.state.now.All() {
		if w, ok := own(key, v); ok {
			entries = append(entries, pair[W]{key, w})
		}
	}
	for out := range d.claims {
		w, _, _ := d.winner(out)
		entries = append(entries, pair[W]{out, w})
	}
	slices.SortFunc(entries, func(a, b pair[W]) int { return strings.Compare(a.key, b.key) })
	return sorted(entries)
}

// Grouped is a cell of groups: for each group key the table of its members.
type Grouped[V comparable] struct {
	Cell[Table[V]]
	over *Cell[V]
	of   func(key string, value V) []string
	fork groupedFork[V]
}

// Group derives an index: of says to which groups an entry belongs. of must be
// pure. A group that has no member has no entry.
func Group[V comparable](g *Graph, over *Cell[V], of func(key string, value V) []string) *Grouped[V] {
	n := &Grouped[V]{over: over, of: of}
	at, from := add(g, n)
	if from != nil {
		n.join(g, at, &from.Cell)
		n.fork = newGroupedFork(from)
	} else {
		n.join(g, at, nil)
	}
	return n
}

func (n *Grouped[V]) update() {
	before := n.state.now
	switch {
	case n.fork.from != nil:
		n.follow()
	case len(n.over.changes) == 0:
	case before.Len() == 0:
		n.fill()
	default:
		n.move()
	}
	n.reportAll(before, n.state.now)
}

// fill makes all groups at once. The changes are in the order of their keys,
// and each brings an entry: an old one in no group brings none to leave.
func (n *Grouped[V]) fill() {
	groups := map[string][]pair[V]{}
	for _, ch := range n.over.changes {
		if !ch.InNew {
			continue
		}
		for _, k := range n.of(ch.Key, ch.New) {
			if in := groups[k]; len(in) == 0 || in[len(in)-1].key != ch.Key {
				groups[k] = append(in, pair[V]{ch.Key, ch.New})
			}
		}
	}
	entries := make([]pair[Table[V]], 0, len(groups))
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		entries = append(entries, pair[Table[V]]{k, sorted(groups[k])})
	}
	n.state.now = sorted(entries)
}

// move takes the changed entries from group to group.
func (n *Grouped[V]) move() {
	for _, ch := range n.over.changes {
		if ch.InOld {
			for _, k := range n.of(ch.Key, ch.Old) {
				n.set(k, n.members(k).Without(ch.Key))
			}
		}
		if ch.InNew {
			for _, k := range n.of(ch.Key, ch.New) {
				n.set(k, n.members(k).With(ch.Key, ch.New))
			}
		}
	}
}

func (n *Grouped[V]) members(k string) Table[V] {
	t, _ := n.state.now.Get(k)
	return t
}

func (n *Grouped[V]) set(k string, members Table[V]) { n.put(k, members, members.Len() > 0) }
