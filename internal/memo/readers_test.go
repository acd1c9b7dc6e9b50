package memo

import (
	"fmt"
	"testing"
)

// crowded has a table of which the entries whose value is 1 read the one entry
// of rate, two at once those whose value is 2.
type crowded struct {
	g     *Graph
	items *Input[int]
	rate  *Input[int]
	out   *Derived[int, int]
	ran   map[string]bool
}

func newCrowded(g *Graph) *crowded {
	c := &crowded{g: g, ran: map[string]bool{}}
	c.rate, c.items = NewInput[int](g), NewInput[int](g)
	c.out = Map(g, &c.items.Cell, func(r *Reader, key string, v int) (int, bool) {
		c.ran[key] = true
		if v == 0 {
			return 0, true
		}
		rate, _ := Get(r, &c.rate.Cell, "")
		return v * rate, true
	})
	return c
}

// set gives readers entries that read the rate and others that do not, and
// returns how many ran.
func (c *crowded) set(rate, readers, others int) int {
	clear(c.ran)
	var items Table[int]
	for i := range readers {
		items = items.With(fmt.Sprint("r", i), 1)
	}
	for i := range others {
		items = items.With(fmt.Sprint("o", i), 0)
	}
	c.items.Set(items)
	c.rate.Set(Table[int]{}.With("", rate))
	c.g.Run()
	return len(c.ran)
}

// A change runs those that read it, however many of the table they are now and
// were when they read it.
func TestCrowdsRunThoseThatRead(t *testing.T) {
	c := newCrowded(&Graph{})
	fork := newCrowded(c.g.Fork())
	rate := 0
	for _, n := range []struct{ readers, others int }{{3, 0}, {5, 100}, {50, 0}, {50, 1000}, {51, 1000}, {900, 1000}, {900, 0}, {2, 0}, {0, 3}, {40, 3}} {
		c.set(rate, n.readers, n.others)
		fork.set(-1, n.readers, n.others)
		for range 3 {
			rate++
			if ran := c.set(rate, n.readers, n.others); ran != n.readers {
				t.Errorf("%+v: %d entries ran", n, ran)
			}
			if got, _ := c.out.Table().Get("r0"); n.readers > 0 && got != rate {
				t.Errorf("%+v: %d at rate %d", n, got, rate)
			}
			if ran := fork.set(-1, n.readers, n.others); ran != n.readers {
				t.Errorf("%+v: %d entries of the fork, whose rate is its own, ran", n, ran)
			}
		}
		if got, _ := fork.out.Table().Get("r0"); n.readers > 0 && got != -1 {
			t.Errorf("%+v: %d in the fork", n, got)
		}
	}
}

// What all entries read lists none of them; nor what few of many read once that
// is seen.
func TestCrowdsListNoMostOfATable(t *testing.T) {
	c := newCrowded(&Graph{})
	listed := func() int { return len(c.rate.readers[""].more.crowds[0].keys) }
	if c.set(1, 500, 0); listed() != 0 {
		t.Errorf("%d of 500 readers are listed", listed())
	}
	c.set(1, 500, 10_000)
	if c.set(2, 500, 10_000); listed() != 500 {
		t.Errorf("%d of 500 readers among 10,500 are listed", listed())
	}
}
