package fair

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrCrowded is that of a caller who gave way: too many wait already, and those
// of its group are the most.
var ErrCrowded = errors.New("too many callers wait, most of them of this group: ask again later")

// Turns bounds how much is worked on at once. Who comes beyond that waits, and
// whose turn is next goes by groups: one of each group in turn, and within a group
// one of each member in turn. A group of thousands takes no more of the work, as
// long as others wait, than a group of one.
//
// Waiting is bounded too: one too many is made up for at once by the newest
// waiter of the group with the most of them, which is the newcomer itself where
// no other group has more.
type Turns struct {
	atOnce, waits int

	mu      sync.Mutex
	busy    int
	waiting int
	order   []string // groups that wait; the first is next
	groups  map[string]*group
}

// group is the waiters of one group; it has at least one.
type group struct {
	waiting int
	order   []string // members that wait; the first is next
	members map[string][]*waiter
}

// waiter learns on turn whether it is its turn (true) or it gave way.
type waiter struct{ turn chan bool }

// NewTurns lets atOnce callers work and as many as waits wait; both must be 1 or
// more.
func NewTurns(atOnce, waits int) *Turns {
	return &Turns{atOnce: atOnce, waits: waits, groups: map[string]*group{}}
}

// Take returns when it is the caller's turn; done ends it, and must be called
// once. Errors: ErrCrowded, or ctx's.
func (t *Turns) Take(ctx context.Context, of, member string) (done func(), err error) {
	w := t.enter(of, member)
	if w == nil {
		return t.leave, nil
	}
	select {
	case mine := <-w.turn:
		if !mine {
			return nil, ErrCrowded
		}
		return t.leave, nil
	case <-ctx.Done():
	}
	if !t.drop(of, member, w) && <-w.turn { // its turn came at the same moment
		t.leave()
	}
	return nil, ctx.Err()
}

// Waiting is how many wait now.
func (t *Turns) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}

// enter is nil where it is the caller's turn at once.
func (t *Turns) enter(of, member string) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy < t.atOnce {
		t.busy++
		return nil
	}
	w := &waiter{turn: make(chan bool, 1)}
	g := t.groups[of]
	if g == nil {
		g = &group{members: map[string][]*waiter{}}
		t.groups[of], t.order = g, append(t.order, of)
	}
	if len(g.members[member]) == 0 {
		g.order = append(g.order, member)
	}
	g.members[member] = append(g.members[member], w)
	g.waiting++
	if t.waiting++; t.waiting > t.waits {
		t.giveWay(of, member)
	}
	return w
}

// giveWay sends the newest waiter of the greediest group away; a newcomer's group
// and member count as greediest among equals. t.mu is held.
func (t *Turns) giveWay(of, member string) {
	for name, g := range t.groups {
		if g.waiting > t.groups[of].waiting {
			of = name
		}
	}
	g := t.groups[of]
	if len(g.members[member]) == 0 {
		member = g.order[0]
	}
	for name, list := range g.members {
		if len(list) > len(g.members[member]) {
			member = name
		}
	}
	list := g.members[member]
	last := list[len(list)-1]
	t.remove(of, member, len(list)-1)
	last.turn <- false
}

// leave gives the turn to the next.
func (t *Turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == 0 {
		t.busy--
		return
	}
	of := t.order[0]
	g := t.groups[of]
	member := g.order[0]
	next := g.members[member][0]
	// To the back first: remove takes away who has nobody left.
	t.order = append(t.order[1:], of)
	g.order = append(g.order[1:], member)
	t.remove(of, member, 0)
	next.turn <- true
}

// drop takes a waiter out; false: it has been told already.
func (t *Turns) drop(of, member string, w *waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[of]
	if g == nil {
		return false
	}
	at := slices.Index(g.members[member], w)
	if at >= 0 {
		t.remove(of, member, at)
	}
	return at >= 0
}

// remove takes the waiter at a place out of its line. t.mu is held.
func (t *Turns) remove(of, member string, at int) {
	g := t.groups[of]
	t.waiting--
	g.waiting--
	if g.members[member] = slices.Delete(g.members[member], at, at+1); len(g.members[member]) == 0 {
		delete(g.members, member)
		g.order = without(g.order, member)
	}
	if g.waiting == 0 {
		delete(t.groups, of)
		t.order = without(t.order, of)
	}
}

// without takes one name out; it looks from the back, where leave has just put it.
func without(order []string, name string) []string {
	for i := len(order) - 1; i >= 0; i-- {
		if order[i] == name {
			return slices.Delete(order, i, i+1)
		}
	}
	return order
}
