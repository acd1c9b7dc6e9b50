package xds

import (
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// table and change are the resources of one type and a step between two states.
type (
	table  = memo.Table[*snapshot.Resource]
	change = memo.Change[*snapshot.Resource]
)

// Types in the order in which they are sent: what is used goes before what
// uses it.
var order = []string{snapshot.Cluster, snapshot.Endpoint, snapshot.Listener, snapshot.Route, snapshot.VirtualHost, snapshot.Secret, snapshot.Extension, snapshot.Name}

// class is a class of proxies with its current edition; its streams share it.
type class struct {
	key     model.ProxyClass
	now     atomic.Pointer[edition] // nil until first published
	streams map[*stream]struct{}    // guarded by Server.mu
	idle    time.Time               // since when it has no stream; guarded by Server.mu
}

// edition is one published state and the step that led to it, found once for
// all streams of the class.
type edition struct {
	snap  snapshot.Snapshot
	prev  snapshot.Snapshot
	steps map[string][]change // by type
	since time.Time           // of the event that caused it; zero: unknown
}

// of returns the class's table of a type.
func (c *class) of(typeURL string) table {
	if ed := c.now.Load(); ed != nil {
		return ed.snap.Of(typeURL)
	}
	return table{}
}

// step makes the edition that follows old (nil: none). moved says that some
// table is another one, changed how many resources differ in content.
func step(old *edition, next snapshot.Snapshot, since time.Time) (ed *edition, moved bool, changed int) {
	ed = &edition{snap: next, steps: map[string][]change{}, since: since}
	if old != nil {
		ed.prev = old.snap
	}
	for _, typeURL := range order {
		var steps []change
		before := ed.prev.Of(typeURL)
		moved = moved || before != next.Of(typeURL)
		for ch := range memo.Diff(before, next.Of(typeURL)) {
			if !snapshot.Same(ch.Old, ch.New) {
				steps = append(steps, ch)
			}
		}
		changed += len(steps)
		ed.steps[typeURL] = steps
	}
	return ed, moved, changed
}

// from yields what differs between a state that a stream holds and the
// edition. Most streams hold the state before it, for which it is known.
func (ed *edition) from(typeURL string, held table) iter.Seq[change] {
	now := ed.snap.Of(typeURL)
	switch held {
	case now:
		return func(func(change) bool) {}
	case ed.prev.Of(typeURL):
		return slices.Values(ed.steps[typeURL])
	}
	return func(yield func(change) bool) {
		for ch := range memo.Diff(held, now) {
			if !snapshot.Same(ch.Old, ch.New) && !yield(ch) {
				return
			}
		}
	}
}
