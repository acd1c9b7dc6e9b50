package memo

import (
	"iter"
	"slices"
)

// reader is a derived table whose entries read others.
type reader interface {
	touch(key string)
	place() int
	// entries is how many entries have run, and reading which of them read m.
	entries() int
	reading(m readMark) iter.Seq[string]
}

type readerKey struct {
	of  reader
	key string
}

// readers are the entries of derived tables to run again. Most keys have one
// reader, which then costs nothing more.
type readers struct {
	one  readerKey
	more *readerList // set: all of them, and one is unused
}

// readerList has readers one by one while they are few, then by their tables.
type readerList struct {
	few    []readerKey
	crowds []crowd
}

// fewReaders are listed one by one.
const fewReaders = 8

// crowd are the readers of one table. What most of its entries read, such as
// the settings, lists none of them: they are found by their marks, when all of
// these are to run again anyway.
type crowd struct {
	of   reader
	n    int
	keys map[string]struct{} // nil: not listed
}

func (rs readers) with(r readerKey) readers {
	switch {
	case rs.more != nil:
		rs.more.add(r)
	case rs.one.of == nil:
		rs.one = r
	case rs.one != r:
		rs = readers{more: &readerList{few: []readerKey{rs.one, r}}}
	}
	return rs
}

func (rs readers) without(r readerKey) readers {
	if rs.more != nil {
		if rs.more.drop(r); len(rs.more.few)+len(rs.more.crowds) == 0 {
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

// touch marks those that read m, or where they are those of the graph that in
// was forked from, what stands for them in in.
func (rs readers) touch(in *Graph, m readMark) {
	if rs.one.of != nil {
		in.nodes[rs.one.of.place()].touch(rs.one.key)
	}
	if rs.more == nil {
		return
	}
	for _, r := range rs.more.few {
		in.nodes[r.of.place()].touch(r.key)
	}
	for i := range rs.more.crowds {
		rs.more.crowds[i].touch(in, m)
	}
}

// add takes in a reader that is not in l.
func (l *readerList) add(r readerKey) {
	if len(l.crowds) == 0 && len(l.few) < fewReaders {
		l.few = append(l.few, r)
		return
	}
	for _, each := range l.few {
		l.crowd(each.of).add(each.key)
	}
	l.few = nil
	l.crowd(r.of).add(r.key)
}

func (l *readerList) drop(r readerKey) {
	l.few = slices.DeleteFunc(l.few, func(each readerKey) bool { return each == r })
	if len(l.crowds) == 0 {
		return
	}
	c := l.crowd(r.of)
	delete(c.keys, r.key)
	c.n--
	l.crowds = slices.DeleteFunc(l.crowds, func(c crowd) bool { return c.n <= 0 })
}

// crowd is that of a table.
func (l *readerList) crowd(of reader) *crowd {
	at := slices.IndexFunc(l.crowds, func(c crowd) bool { return c.of == of })
	if at < 0 {
		at = len(l.crowds)
		l.crowds = append(l.crowds, crowd{of: of, keys: map[string]struct{}{}})
	}
	return &l.crowds[at]
}

func (c *crowd) add(key string) {
	c.n++
	if c.keys == nil {
		return
	}
	c.keys[key] = struct{}{}
	if c.n > fewReaders && 2*c.n >= c.of.entries() {
		c.keys = nil
	}
}

func (c *crowd) touch(in *Graph, m readMark) {
	if c.keys == nil && 4*c.n < c.of.entries() { // they are no longer most of them
		c.keys = make(map[string]struct{}, c.n)
		for key := range c.of.reading(m) {
			c.keys[key] = struct{}{}
		}
	}
	to := in.nodes[c.of.place()]
	if c.keys == nil {
		for key := range c.of.reading(m) {
			to.touch(key)
		}
		return
	}
	for key := range c.keys {
		to.touch(key)
	}
}
