package memo

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

func contents[V comparable](t Table[V]) map[string]V { return maps.Collect(t.All()) }

func TestTableAgainstMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var table Table[int]
	want := map[string]int{}
	for range 5000 {
		k := strconv.Itoa(rnd.IntN(300))
		prev, before := table, maps.Clone(want)
		if rnd.IntN(3) == 0 {
			table = table.Without(k)
			delete(want, k)
		} else {
			v := rnd.IntN(5)
			table = table.With(k, v)
			want[k] = v
		}
		if !maps.Equal(contents(table), want) || table.Len() != len(want) {
			t.Fatalf("after %q: got %v, want %v", k, contents(table), want)
		}
		if !maps.Equal(contents(prev), before) {
			t.Fatalf("an older version changed")
		}
	}
	if keys := slices.Collect(maps.Keys(want)); !slices.IsSorted(sortedKeys(table)) || len(keys) != table.Len() {
		t.Fatal("keys are not sorted")
	}
}

func sortedKeys[V comparable](t Table[V]) (out []string) {
	for k := range t.All() {
		out = append(out, k)
	}
	return out
}

func TestDiffAppliedGivesNext(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		a, b := randomTable(rnd), randomTable(rnd)
		got := a
		last := ""
		for ch := range Diff(a, b) {
			if last != "" && ch.Key <= last {
				t.Fatalf("diff is not in order: %q after %q", ch.Key, last)
			}
			last = ch.Key
			if ch.InNew {
				got = got.With(ch.Key, ch.New)
			} else {
				got = got.Without(ch.Key)
			}
		}
		if !got.Equal(b) {
			t.Fatalf("got %v, want %v", contents(got), contents(b))
		}
	}
}

func randomTable(rnd *rand.Rand) (t Table[int]) {
	for range rnd.IntN(60) {
		t = t.With(strconv.Itoa(rnd.IntN(80)), rnd.IntN(3))
	}
	return t
}

// TestSortedIsWhatWithGives: same entries, same shape, same sizes.
func TestSortedIsWhatWithGives(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for n := range 200 {
		var want Table[int]
		for range n {
			want = want.With(strconv.Itoa(rnd.IntN(300)), rnd.IntN(9))
		}
		var entries []pair[int]
		for k, v := range want.All() {
			entries = append(entries, pair[int]{k, v})
		}
		got := sorted(entries)
		if !sameShape(got.root, want.root) {
			t.Fatalf("of %d entries: got %v, want %v", n, contents(got), contents(want))
		}
		if next := got.With("x", 1).Without("x"); !sameShape(next.root, want.root) {
			t.Fatalf("an edit of %v gives %v", contents(want), contents(next))
		}
	}
}

func TestCollect(t *testing.T) {
	given := []pair[int]{{"b", 1}, {"a", 2}, {"b", 3}, {"c", 4}}
	got := Collect(func(yield func(string, int) bool) {
		for _, e := range given {
			if !yield(e.key, e.value) {
				return
			}
		}
	})
	if want := map[string]int{"a": 2, "b": 1, "c": 4}; !maps.Equal(contents(got), want) || got.Len() != 3 {
		t.Errorf("got %v, want %v", contents(got), want)
	}
}

// A table made of another has what it would have entry by entry, and its shape.
func TestMapped(t *testing.T) {
	var from, want Table[int]
	for i := range 200 {
		key := fmt.Sprint(i * 7919 % 200)
		if from = from.With(key, i); i%3 > 0 {
			want = want.With(key, -i)
		}
	}
	got := Mapped(from, func(_ string, n int) (int, bool) { return -n, n%3 > 0 })
	if !got.Equal(want) || got.Len() != want.Len() || !sameShape(got.root, want.root) {
		t.Errorf("%d entries, want %d, or another shape", got.Len(), want.Len())
	}
}

func sameShape(a, b *node[int]) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.key == b.key && a.value == b.value && a.size == b.size && sameShape(a.left, b.left) && sameShape(a.right, b.right)
}

func TestDiffSkipsWhatIsShared(t *testing.T) {
	var big Table[int]
	for i := range 10_000 {
		big = big.With(strconv.Itoa(i), i)
	}
	next := big.With("77", -1)
	allocs := testing.AllocsPerRun(10, func() {
		for range Diff(big, next) {
		}
	})
	if allocs > 200 {
		t.Fatalf("diff of one entry in 10,000 cost %v allocations", allocs)
	}
}

// world is a small mesh of tables: prices by item, discounts by group, with a
// function that reads another table and one that fans out.
type world struct {
	g         *Graph
	items     *Input[int]
	discounts *Input[int]
	priced    *Derived[int, int]
	groups    *Grouped[int]
	fan       *Derived[int, int]
	union     *Union[int]
	runs      int
}

func newWorld() *world { return newWorldIn(&Graph{}) }

func newWorldIn(g *Graph) *world {
	w := &world{g: g}
	w.items = NewInput[int](w.g)
	w.discounts = NewInput[int](w.g)
	w.priced = Map(w.g, &w.items.Cell, func(r *Reader, key string, v int) (int, bool) {
		w.runs++
		d, _ := Get(r, &w.discounts.Cell, groupOf(key))
		return v*10 - d, v != 0
	})
	w.groups = Group(w.g, &w.priced.Cell, func(key string, v int) []string { return []string{groupOf(key), fmt.Sprint("v", v%3)} })
	w.fan = Flat(w.g, &w.priced.Cell, func(r *Reader, key string, v int, emit Emit[int]) {
		emit(key+"/a", v)
		if l, ok := Get(r, &w.groups.Cell, groupOf(key)); ok {
			emit("group/"+groupOf(key), l.Len())
		}
		if All(r, &w.discounts.Cell).Len() > 2 {
			emit("many", 1)
		}
	})
	w.union = NewUnion(w.g, &w.fan.Cell, &w.priced.Cell, &w.discounts.Cell)
	return w
}

func groupOf(key string) string { return key[:1] }

func TestIncrementalEqualsFromNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	w := newWorld()
	var items, discounts Table[int]
	for step := range 600 {
		for range 1 + rnd.IntN(3) {
			k := strconv.Itoa(10 + rnd.IntN(80))
			switch rnd.IntN(4) {
			case 0:
				items = items.Without(k)
			case 1:
				discounts = discounts.With(groupOf(k), rnd.IntN(4))
			case 2:
				discounts = discounts.Without(groupOf(k))
			default:
				items = items.With(k, rnd.IntN(4))
			}
		}
		w.items.Set(items)
		w.discounts.Set(discounts)
		w.g.Run()
		fresh := newWorld()
		fresh.items.Set(items)
		fresh.discounts.Set(discounts)
		fresh.g.Run()
		w.differs(t, fmt.Sprint("step ", step), fresh)
	}
}

// differs fails the test if a world's tables are not those of another.
func (w *world) differs(t *testing.T, what string, from *world) {
	t.Helper()
	for name, tables := range map[string][2]Table[int]{
		"priced": {w.priced.Table(), from.priced.Table()}, "fan": {w.fan.Table(), from.fan.Table()}, "union": {w.union.Table(), from.union.Table()},
	} {
		if !tables[0].Equal(tables[1]) {
			t.Fatalf("%s: %s is %v, from nothing %v", what, name, contents(tables[0]), contents(tables[1]))
		}
	}
	if got, want := listing(w.groups.Table()), listing(from.groups.Table()); got != want {
		t.Fatalf("%s: groups %s, from nothing %s", what, got, want)
	}
}

func listing(t Table[Table[int]]) (out string) {
	for k, l := range t.All() {
		out += fmt.Sprint(k, contents(l), ";")
	}
	return out
}

func TestOnlyWhatDiffersRuns(t *testing.T) {
	w := newWorld()
	var items Table[int]
	for i := range 1000 {
		items = items.With(strconv.Itoa(10+i), 1+i%3)
	}
	w.items.Set(items)
	w.g.Run()
	w.runs = 0
	w.items.Set(items.With("15", 99))
	w.g.Run()
	if w.runs != 1 {
		t.Fatalf("one changed entry ran the function %d times", w.runs)
	}
	w.runs = 0
	w.g.Run()
	if w.runs != 0 {
		t.Fatalf("nothing changed, but the function ran %d times", w.runs)
	}
}

func TestSameStopsPropagation(t *testing.T) {
	g := &Graph{}
	in := NewInput[int](g)
	runs := 0
	rounded := Map(g, &in.Cell, func(_ *Reader, _ string, v int) (*int, bool) { v /= 10; return &v, true },
		Same(func(a, b *int) bool { return *a == *b }))
	Map(g, &rounded.Cell, func(_ *Reader, _ string, v *int) (int, bool) { runs++; return *v, true })
	in.Set(Table[int]{}.With("a", 11))
	g.Run()
	in.Set(Table[int]{}.With("a", 12))
	g.Run()
	if runs != 1 {
		t.Fatalf("an equal result went on: %d runs", runs)
	}
}

func BenchmarkFromNothing(b *testing.B) {
	var items Table[int]
	for i := range 10_000 {
		items = items.With(strconv.Itoa(1000+i)+"x"+strconv.Itoa(i%7), 1+i%3)
	}
	b.ReportAllocs()
	for b.Loop() {
		w := newWorld()
		w.items.Set(items)
		w.g.Run()
	}
}

func BenchmarkOneChangeIn(b *testing.B) {
	for _, n := range []int{500, 2000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			w := newWorld()
			var items Table[int]
			for i := range n {
				items = items.With(strconv.Itoa(1000+i)+"x"+strconv.Itoa(i%7), 1+i%3)
			}
			w.items.Set(items)
			w.g.Run()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				items = items.With("zz", i+1)
				w.items.Set(items)
				w.g.Run()
			}
		})
	}
}
