package pilot

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/source"
)

// inbox holds the newest state of the source; the engine takes it at its own
// pace.
type inbox struct {
	mu     sync.Mutex
	state  source.State
	since  time.Time // when the oldest state that was not taken came; zero: none
	filled chan struct{}
}

func newInbox() *inbox { return &inbox{filled: make(chan struct{}, 1)} }

// put replaces the state.
func (b *inbox) put(s source.State) {
	b.mu.Lock()
	b.state = s
	if b.since.IsZero() {
		b.since = time.Now()
	}
	b.mu.Unlock()
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

// peek returns the newest state and since when something waits.
func (b *inbox) peek() (source.State, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state, b.since
}

// taken says that state was applied.
func (b *inbox) taken(state source.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if state.Set.Equal(b.state.Set) {
		b.since = time.Time{}
		return
	}
	b.since = time.Now()
}

// Hold-off: the first change of a quiet time goes at once; while changes keep
// coming, runs are spaced by a pause that doubles up to maxPause.
const (
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
	// calm is the time without a run after which the next one goes at once.
	calm = 150 * time.Millisecond
)

// pacer decides when the next run may start. Its zero value is calm.
type pacer struct {
	last  time.Time // end of the last run
	pause time.Duration
}

// wait is how long a change that is there at now must wait.
func (p *pacer) wait(now time.Time) time.Duration {
	return max(0, p.pause-now.Sub(p.last))
}

// ran notes a run that ended at now.
func (p *pacer) ran(now time.Time) {
	if p.last.IsZero() || now.Sub(p.last) > p.pause+calm {
		p.pause = firstPause
	} else {
		p.pause = min(maxPause, p.pause*2)
	}
	p.last = now
}

// fastKinds never wait: they say where traffic can go.
var fastKinds = []config.Kind{config.EndpointSlice, config.Pod}

// fast brings only the fast kinds of old up to date with next. It reports
// whether they differ, and whether anything else does.
func fast(old, next config.Set) (mixed config.Set, differs, more bool) {
	mixed = old
	for _, kind := range fastKinds {
		for ch := range memo.Diff(old.Of(kind), next.Of(kind)) {
			differs = true
			if ch.InNew {
				mixed = mixed.With(ch.New)
			} else {
				mixed = mixed.Without(kind, ch.Key)
			}
		}
	}
	return mixed, differs, !mixed.Equal(next)
}
