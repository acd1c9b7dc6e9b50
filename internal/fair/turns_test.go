package fair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const patience = 30 * time.Second

// crowd lets callers line up behind one who works, in their order.
type crowd struct {
	t     *testing.T
	turns *Turns
	first func()
	lines int
	told  chan string // who got a turn, or "-" and who gave way
}

func newCrowd(t *testing.T, waits int) *crowd {
	c := &crowd{t: t, turns: NewTurns(1, waits), told: make(chan string, 1000)}
	first, err := c.turns.Take(t.Context(), "first", "")
	if err != nil {
		t.Fatal(err)
	}
	c.first = first
	return c
}

// comes has a caller line up; when its turn comes it ends at once.
func (c *crowd) comes(ctx context.Context, group, member string) {
	c.t.Helper()
	before := c.turns.Waiting()
	w := make(chan error, 1)
	go func() {
		done, err := c.turns.Take(ctx, group, member)
		if err == nil {
			c.told <- group + "/" + member
			done()
		} else if errors.Is(err, ErrCrowded) {
			c.told <- "-" + group + "/" + member
		}
		w <- err
	}()
	c.lines++
	if before < c.turns.waits {
		until(c.t, func() bool { return c.turns.Waiting() == before+1 })
	}
}

func until(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}

func (c *crowd) next() string {
	c.t.Helper()
	select {
	case s := <-c.told:
		return s
	case <-time.After(patience):
		c.t.Fatal("nobody gets a turn")
		return ""
	}
}

// idle waits until nobody works or waits, and nothing of anybody is left.
func (c *crowd) idle() {
	c.t.Helper()
	until(c.t, func() bool {
		c.turns.mu.Lock()
		defer c.turns.mu.Unlock()
		return c.turns.busy == 0 && len(c.turns.groups) == 0 && len(c.turns.order) == 0
	})
}

func (c *crowd) all() (out []string) {
	for range c.lines {
		out = append(out, c.next())
	}
	return out
}

func TestTurnsGoByGroupAndMember(t *testing.T) {
	c := newCrowd(t, 100)
	for range 3 {
		c.comes(t.Context(), "greedy", "a")
	}
	c.comes(t.Context(), "greedy", "b")
	c.comes(t.Context(), "modest", "m")
	c.comes(t.Context(), "other", "o")
	c.first()
	want := "greedy/a modest/m other/o greedy/b greedy/a greedy/a"
	if got := strings.Join(c.all(), " "); got != want {
		t.Errorf("turns %s, want %s", got, want)
	}
	c.idle()
}

func TestGreediestGivesWay(t *testing.T) {
	c := newCrowd(t, 4)
	for i := range 3 {
		c.comes(t.Context(), "greedy", fmt.Sprint(i%2))
	}
	c.comes(t.Context(), "modest", "m")
	c.comes(t.Context(), "modest", "n") // one too many
	if got := c.next(); got != "-greedy/0" {
		t.Errorf("%s gave way", got)
	}
	c.comes(t.Context(), "greedy", "2") // of equals the newcomer's
	if got := c.next(); !strings.HasPrefix(got, "-greedy/") {
		t.Errorf("%s gave way", got)
	}
	c.lines -= 2
	c.first()
	got := c.all()
	slices.Sort(got)
	if len(got) != 4 || got[2] != "modest/m" || got[3] != "modest/n" {
		t.Errorf("served: %v", got)
	}
}

// Who no longer waits holds no place and gets no turn.
func TestWaiterGoesAway(t *testing.T) {
	c := newCrowd(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	c.comes(ctx, "a", "1")
	c.comes(t.Context(), "b", "1")
	cancel()
	until(t, func() bool { return c.turns.Waiting() == 1 })
	c.lines--
	c.comes(t.Context(), "c", "1")
	c.first()
	if got := strings.Join(c.all(), " "); got != "b/1 c/1" {
		t.Errorf("turns %s", got)
	}
	c.idle()
}
