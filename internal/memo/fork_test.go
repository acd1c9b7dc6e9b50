package memo

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// edit changes one entry of items and one of discounts, or not.
func edit(rnd *rand.Rand, items, discounts Table[int]) (Table[int], Table[int]) {
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
	return items, discounts
}

func (w *world) run(items, discounts Table[int]) {
	w.items.Set(items)
	w.discounts.Set(discounts)
	w.g.Run()
}

// TestForkEqualsFromNothing edits a graph and forks of it, each with entries
// of its own in every input, and runs them in any order, or not at all.
func TestForkEqualsFromNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	var items, discounts Table[int]
	base := newWorld()
	type fork struct {
		*world
		items, discounts Table[int] // the entries of its own; 9: none
	}
	var forks []*fork
	over := func(t, own Table[int]) Table[int] {
		for k, v := range own.All() {
			if t = t.With(k, v); v == 9 {
				t = t.Without(k)
			}
		}
		return t
	}
	for step := range 600 {
		if step%60 == 5 {
			forks = append(forks, &fork{world: newWorldIn(base.g.Fork())})
		}
		if len(forks) > 4 {
			forks = forks[1:]
		}
		items, discounts = edit(rnd, items, discounts)
		if rnd.IntN(4) > 0 {
			base.run(items, discounts)
		}
		for i, f := range forks {
			switch rnd.IntN(6) {
			case 0:
				f.items, f.discounts = edit(rnd, f.items, f.discounts)
			case 1:
				f.items = f.items.With(strconv.Itoa(10+rnd.IntN(80)), 9)
			case 2:
				f.items, f.discounts = Table[int]{}, f.discounts.Without(strconv.Itoa(1+rnd.IntN(9)))
			case 3:
				continue // it does not even look
			}
			nowItems, nowDiscounts := over(items, f.items), over(discounts, f.discounts)
			f.run(nowItems, nowDiscounts)
			fresh := newWorld()
			fresh.run(nowItems, nowDiscounts)
			f.differs(t, "step "+strconv.Itoa(step)+", fork "+strconv.Itoa(i), fresh)
		}
	}
}

// TestForkRunsWhatDiffers: an entry that both have is run once, and its result
// is in both tables without a copy of either.
func TestForkRunsWhatDiffers(t *testing.T) {
	base := newWorld()
	var items Table[int]
	for i := range 1000 {
		items = items.With(strconv.Itoa(10+i), 1+i%3)
	}
	base.run(items, Table[int]{})
	fork := newWorldIn(base.g.Fork())
	fork.run(items.With("15", 99).Without("16"), Table[int]{})
	if fork.runs != 1 {
		t.Errorf("a fork with one entry that is another ran the function %d times", fork.runs)
	}
	for i := range 100 {
		items = items.With("700", 100+i)
		base.run(items, Table[int]{})
		fork.run(items.With("15", 99).Without("16"), Table[int]{})
	}
	if fork.runs != 1 {
		t.Errorf("a change of what both have ran the fork's function %d times", fork.runs)
	}
	if own := copied(fork.priced.Table().root, nodesOf(base.priced.Table().root, map[*node[int]]bool{})); own > 100 {
		t.Errorf("%d nodes of the fork's table are its own", own)
	}
	fork.run(items, Table[int]{})
	if fork.priced.Table() != base.priced.Table() || fork.fan.Table() != base.fan.Table() {
		t.Error("a fork that differs in nothing has tables of its own")
	}
}

func nodesOf(n *node[int], into map[*node[int]]bool) map[*node[int]]bool {
	if n != nil {
		into[n] = true
		nodesOf(n.left, into)
		nodesOf(n.right, into)
	}
	return into
}

func copied(n *node[int], of map[*node[int]]bool) int {
	if n == nil || of[n] {
		return 0
	}
	return 1 + copied(n.left, of) + copied(n.right, of)
}
