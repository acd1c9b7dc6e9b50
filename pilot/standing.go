package pilot

import (
	"sync/atomic"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/status"
)

// standing is the last state that every class was given: what statuses are
// about. The engine writes it, any goroutine reads it.
type standing struct {
	last    atomic.Pointer[status.State]
	changed chan struct{} // holds one token
}

func newStanding() *standing { return &standing{changed: make(chan struct{}, 1)} }

// state is nil before the first.
func (s *standing) state() *status.State { return s.last.Load() }

// stands notes what is in force now.
func (e *engine) stands(state source.State, result compile.Result) {
	said := map[diag.Diagnostic]bool{}
	next := &status.State{Set: state.Set, Form: state.Findings, Findings: result.Findings}
	for _, l := range e.lines {
		if l.problems == 0 {
			continue
		}
		for _, p := range l.translator.Problems() {
			next.Held = append(next.Held, problem(state.Set, p, said)...)
		}
	}
	next.Held = distinct(next.Held)
	e.standing.last.Store(next)
	select {
	case e.standing.changed <- struct{}{}:
	default:
	}
}
