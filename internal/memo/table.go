package memo

import (
	"hash/maphash"
	"iter"
	"slices"
	"strings"
)

// Table is an immutable map with sorted string keys. With and Without return
// a new Table that shares all but O(log n) of its nodes with the old one, so
// keeping many versions is cheap and Diff costs only what differs.
//
// The zero Table is empty and ready to use. Tables may be read from any number
// of goroutines.
//
// It is a treap whose priorities are a hash of the key: two tables with the
// same keys have the same shape however they came about.
type Table[V comparable] struct {
	root *node[V]
}

type node[V comparable] struct {
	key         string
	prio        uint64
	value       V
	size        int
	left, right *node[V]
}

// seed is fixed for the process: shapes are compared only within one.
var seed = maphash.MakeSeed()

// Len returns the number of entries.
func (t Table[V]) Len() int { return t.root.len() }

// Get returns the value of key, or the zero value and false.
func (t Table[V]) Get(key string) (V, bool) {
	n := t.root
	for n != nil {
		switch strings.Compare(key, n.key) {
		case 0:
			return n.value, true
		case -1:
			n = n.left
		default:
			n = n.right
		}
	}
	var zero V
	return zero, false
}

// With returns a table that has key set to value. Setting an equal value
// returns t itself.
func (t Table[V]) With(key string, value V) Table[V] {
	if old, ok := t.Get(key); ok && old == value {
		return t
	}
	leaf := &node[V]{key: key, prio: maphash.String(seed, key), value: value, size: 1}
	return Table[V]{root: insert(t.root, leaf)}
}

// Without returns a table that lacks key.
func (t Table[V]) Without(key string) Table[V] {
	if _, ok := t.Get(key); !ok {
		return t
	}
	return Table[V]{root: remove(t.root, key)}
}

// pair is an entry on its way into a table.
type pair[V comparable] struct {
	key   string
	value V
}

// Collect makes a table of entries in any order; of those with one key the
// first counts. It costs O(n) where they come in order, O(n log n) else.
func Collect[V comparable](all iter.Seq2[string, V]) Table[V] {
	var entries []pair[V]
	rising := true
	for k, v := range all {
		rising = rising && (len(entries) == 0 || entries[len(entries)-1].key < k)
		entries = append(entries, pair[V]{k, v})
	}
	if !rising {
		slices.SortStableFunc(entries, func(a, b pair[V]) int { return strings.Compare(a.key, b.key) })
		entries = slices.CompactFunc(entries, func(a, b pair[V]) bool { return a.key == b.key })
	}
	return sorted(entries)
}

// sorted makes a table of entries in strictly rising order of their keys, in
// O(n): it has the shape that With would give. The last node is put at the
// lower end of the right spine, and takes those that it is above as its left.
func sorted[V comparable](entries []pair[V]) Table[V] {
	var spine []*node[V]
	for _, e := range entries {
		n := &node[V]{key: e.key, prio: maphash.String(seed, e.key), value: e.value}
		at := len(spine)
		for at > 0 && above(n, spine[at-1]) {
			at--
			n.left = spine[at]
			n.left.count()
		}
		if at > 0 {
			spine[at-1].right = n
		}
		spine = append(spine[:at], n)
	}
	for i := len(spine) - 1; i >= 0; i-- {
		spine[i].count()
	}
	if len(spine) == 0 {
		return Table[V]{}
	}
	return Table[V]{root: spine[0]}
}

// Mapped gives the entries of t that f keeps, with the values it gives them. It
// costs O(n) and looks at no key: with the same keys a table has the same shape.
func Mapped[V, W comparable](t Table[V], f func(key string, value V) (W, bool)) Table[W] {
	return Table[W]{root: mapped(t.root, f)}
}

func mapped[V, W comparable](n *node[V], f func(key string, value V) (W, bool)) *node[W] {
	if n == nil {
		return nil
	}
	left := mapped(n.left, f)
	w, ok := f(n.key, n.value)
	right := mapped(n.right, f)
	if !ok {
		return join(left, right)
	}
	return &node[W]{key: n.key, prio: n.prio, value: w, size: left.len() + right.len() + 1, left: left, right: right}
}

// count sets the size of a node that is not published yet.
func (n *node[V]) count() { n.size = n.left.len() + n.right.len() + 1 }

// All yields the entries in the order of their keys.
func (t Table[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { t.root.walk("", yield) }
}

// From yields the entries whose key is at least start, in order.
func (t Table[V]) From(start string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { t.root.walk(start, yield) }
}

// Prefix yields the entries whose key begins with prefix, in order.
func (t Table[V]) Prefix(prefix string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for k, v := range t.From(prefix) {
			if !strings.HasPrefix(k, prefix) || !yield(k, v) {
				return
			}
		}
	}
}

// Change is one entry by which two tables differ. InOld and InNew say where
// the key exists; the value of the other side is the zero value.
type Change[V comparable] struct {
	Key          string
	Old, New     V
	InOld, InNew bool
}

// Diff yields, in the order of their keys, the entries by which next differs
// from prev. Shared subtrees are skipped, so that it costs O(changes * log n)
// when one table was made from the other.
func Diff[V comparable](prev, next Table[V]) iter.Seq[Change[V]] {
	return func(yield func(Change[V]) bool) { diff(prev.root, next.root, yield) }
}

// Equal reports whether both tables hold the same entries.
func (t Table[V]) Equal(other Table[V]) bool {
	for range Diff(t, other) {
		return false
	}
	return true
}

func (n *node[V]) len() int {
	if n == nil {
		return 0
	}
	return n.size
}

func (n *node[V]) with(left, right *node[V]) *node[V] {
	c := *n
	c.left, c.right, c.size = left, right, left.len()+right.len()+1
	return &c
}

func (n *node[V]) walk(start string, yield func(string, V) bool) bool {
	if n == nil {
		return true
	}
	if n.key < start {
		return n.right.walk(start, yield)
	}
	return n.left.walk(start, yield) && yield(n.key, n.value) && n.right.walk(start, yield)
}

// above orders nodes of a treap; the key breaks ties of the hash.
func above[V comparable](a, b *node[V]) bool {
	return a.prio > b.prio || a.prio == b.prio && a.key < b.key
}

func insert[V comparable](n, leaf *node[V]) *node[V] {
	switch {
	case n == nil:
		return leaf
	case leaf.key == n.key:
		return leaf.with(n.left, n.right)
	case above(leaf, n):
		left, _, right := split(n, leaf.key)
		return leaf.with(left, right)
	case leaf.key < n.key:
		return n.with(insert(n.left, leaf), n.right)
	default:
		return n.with(n.left, insert(n.right, leaf))
	}
}

func remove[V comparable](n *node[V], key string) *node[V] {
	switch {
	case n == nil:
		return nil
	case key < n.key:
		return n.with(remove(n.left, key), n.right)
	case key > n.key:
		return n.with(n.left, remove(n.right, key))
	default:
		return join(n.left, n.right)
	}
}

// join merges two treaps where every key of a is below every key of b.
func join[V comparable](a, b *node[V]) *node[V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case above(a, b):
		return a.with(a.left, join(a.right, b))
	default:
		return b.with(join(a, b.left), b.right)
	}
}

// split returns what is below key, the node of key if there is one, and what
// is above.
func split[V comparable](n *node[V], key string) (below, at, over *node[V]) {
	switch {
	case n == nil:
		return nil, nil, nil
	case key == n.key:
		return n.left, n, n.right
	case key < n.key:
		below, at, over = split(n.left, key)
		return below, at, n.with(over, n.right)
	default:
		below, at, over = split(n.right, key)
		return n.with(n.left, below), at, over
	}
}

func diff[V comparable](prev, next *node[V], yield func(Change[V]) bool) bool {
	if prev == next {
		return true
	}
	if prev == nil {
		return next.walk("", func(k string, v V) bool { return yield(Change[V]{Key: k, New: v, InNew: true}) })
	}
	below, at, over := split(next, prev.key)
	if !diff(prev.left, below, yield) {
		return false
	}
	if at == nil {
		if !yield(Change[V]{Key: prev.key, Old: prev.value, InOld: true}) {
			return false
		}
	} else if at.value != prev.value {
		if !yield(Change[V]{Key: prev.key, Old: prev.value, New: at.value, InOld: true, InNew: true}) {
			return false
		}
	}
	return diff(prev.right, over, yield)
}
