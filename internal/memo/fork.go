package memo

import "slices"

// runLog says which entries of a Derived ran last, for its forks.
type runLog[W comparable] struct {
	count int // of runs
	last  []ran[W]
}

// ran is an entry that ran, with what was kept of it before.
type ran[W comparable] struct {
	key string
	old *entry[W]
}

// fewRuns is how many entries a log lists at most. Where more ran, it counts
// one run more than it lists, as if one had been missed.
const fewRuns = 256

func (l *runLog[W]) begin(entries int) {
	l.last = nil
	if l.count++; entries > fewRuns {
		l.count++
	} else {
		l.last = make([]ran[W], 0, entries)
	}
}

func (l *runLog[W]) add(key string, old *entry[W]) {
	if l.last != nil {
		l.last = append(l.last, ran[W]{key, old})
	}
}

// derivedFork is what a Derived of a fork knows of the one it stands for.
type derivedFork[V, W comparable] struct {
	of   *Derived[V, W] // nil: it is of no fork
	seen int            // of.log.count at the last run
}

// lags reports whether the other graph ran anew what d stands for.
func (d *Derived[V, W]) lags() bool {
	return d.fork.of != nil && d.fork.seen != d.fork.of.log.count
}

// follow marks the entries that were run again in the other graph, and notes
// in outs what they gave and give there: of one run by its log, of more by
// looking at all entries.
func (d *Derived[V, W]) follow(outs map[string]struct{}) {
	of := d.fork.of
	if d.fork.seen == of.log.count-1 {
		for _, each := range of.log.last {
			d.touch(each.key)
			each.old.note(outs)
			of.kept[each.key].note(outs)
		}
	} else {
		for key, e := range of.kept {
			d.touch(key)
			e.note(outs)
		}
		for key := range d.kept {
			d.touch(key)
		}
		for key := range d.state.now.All() {
			outs[key] = struct{}{}
		}
	}
	d.fork.seen = of.log.count
	d.state.Follow() // all that changed is in outs
}

func (e *entry[W]) note(outs map[string]struct{}) {
	if e != nil && outs != nil {
		for k := range e.keys {
			outs[k] = struct{}{}
		}
	}
}

// shares reports whether an entry is that of the other graph: it is the same
// there, and so is all that it read.
func (d *Derived[V, W]) shares(key string) bool {
	if d.fork.of == nil || d.over.differs(readMark{key: key}) {
		return false
	}
	there := d.fork.of.kept[key]
	return there == nil || !slices.ContainsFunc(there.read, func(m readMark) bool {
		return d.graph.nodes[m.cell.place()].differs(m)
	})
}

// stays reports whether an entry was shared and is. If not, what the other
// graph gives for it is noted in outs.
func (d *Derived[V, W]) stays(key string, outs map[string]struct{}) bool {
	if d.fork.of == nil {
		return false
	}
	if d.kept[key] == nil && d.shares(key) {
		return true
	}
	d.fork.of.kept[key].note(outs)
	return false
}

// hide keeps, for an entry that is not there, that the other graph's does not
// count.
func (d *Derived[V, W]) hide(key string) {
	if d.fork.of != nil {
		d.kept[key] = &entry[W]{}
	}
}

// winner is the result of an output key: that of the lowest input key that
// gives it. own says that the other graph has no part in it.
func (d *Derived[V, W]) winner(out string) (w W, ok, own bool) {
	by, own := d.firstOf(out)
	if d.fork.of != nil {
		for there := range d.fork.of.claimers(out) {
			if own && by <= there {
				break
			}
			if d.kept[there] == nil {
				w, ok = d.fork.of.kept[there].get(out)
				return w, ok, false
			}
		}
	}
	if !own {
		return w, false, false
	}
	w, ok = d.kept[by].get(out)
	return w, ok, true
}

// firstOf is the lowest input key here that gives an output key.
func (d *Derived[V, W]) firstOf(out string) (by string, ok bool) {
	for by := range d.claimers(out) {
		return by, true
	}
	return "", false
}

// known gives, for a result that is the same as the one before, or as that of
// the other graph, the one that is there already.
func (d *Derived[V, W]) known(out string, w W, own bool) W {
	_, differed := d.state.differs[out]
	if d.same == nil || !own && !differed {
		return w
	}
	if was, ok := d.state.now.Get(out); ok && (was == w || d.same(was, w)) {
		return was
	}
	if there, ok := d.state.base.Get(out); ok && own && d.same(there, w) {
		return there
	}
	return w
}

// groupedFork is what a Grouped of a fork knows of the one it stands for.
type groupedFork[V comparable] struct {
	from *Grouped[V] // nil: it is of no fork
	over Table[V]    // of from, at the last run
	// in are the groups, here or there, of each key by which the two differ;
	// by has the same by group.
	in map[string][]string
	by map[string]map[string]struct{}
}

func newGroupedFork[V comparable](from *Grouped[V]) groupedFork[V] {
	return groupedFork[V]{from: from, over: from.over.state.now, in: map[string][]string{}, by: map[string]map[string]struct{}{}}
}

// follow brings the groups up to date that changed there, or that have members
// by which the two differ and that changed.
func (n *Grouped[V]) follow() {
	groups := map[string]struct{}{}
	was := n.fork.over
	n.fork.over = n.fork.from.over.state.now
	for _, ch := range n.over.changes {
		n.regroup(ch.Key, groups)
	}
	for ch := range Diff(was, n.fork.over) {
		n.regroup(ch.Key, groups)
	}
	for ch := range n.state.Follow() {
		groups[ch.Key] = struct{}{}
	}
	for group := range groups {
		n.set(group, n.mixed(group))
	}
	if len(groups) > 0 {
		n.state.Settle()
	}
}

// regroup notes the groups of a member anew, if it differs, and adds those it
// was or is in to groups.
func (n *Grouped[V]) regroup(key string, groups map[string]struct{}) {
	for _, group := range n.fork.in[key] {
		groups[group] = struct{}{}
		if delete(n.fork.by[group], key); len(n.fork.by[group]) == 0 {
			delete(n.fork.by, group)
		}
	}
	delete(n.fork.in, key)
	if !n.over.differs(readMark{key: key}) {
		return
	}
	for _, table := range []Table[V]{n.over.state.now, n.fork.over} {
		if v, ok := table.Get(key); ok {
			n.fork.in[key] = append(n.fork.in[key], n.of(key, v)...)
		}
	}
	for _, group := range n.fork.in[key] {
		groups[group] = struct{}{}
		if n.fork.by[group] == nil {
			n.fork.by[group] = map[string]struct{}{}
		}
		n.fork.by[group][key] = struct{}{}
	}
}

// mixed is the other graph's group with the members that differ put in or out.
func (n *Grouped[V]) mixed(group string) Table[V] {
	members, _ := n.state.base.Get(group)
	for key := range n.fork.by[group] {
		if v, ok := n.over.state.now.Get(key); ok && slices.Contains(n.of(key, v), group) {
			members = members.With(key, v)
		} else {
			members = members.Without(key)
		}
	}
	return members
}
