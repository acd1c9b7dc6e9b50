package agent

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/agent/grpcbootstrap"
	"github.com/weftmesh/weft/internal/enroll"
)

// lagging is what gRPC libraries have read of the files that were written for
// them: each looks at them once in grpcbootstrap.Refresh, and tells nobody. The
// zero value is nothing.
type lagging struct {
	mu      sync.Mutex
	read    enroll.Held
	written []version
	// inherited: an agent before has written files, which processes have read.
	inherited bool
}

// version is a state of the files, and from when on every library has read it.
type version struct {
	held enroll.Held
	at   time.Time
}

// wrote notes what was written at now.
func (l *lagging) wrote(h enroll.Held, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Twice the period: one that was just reading then looks again after it.
	l.written = append(l.written, version{h, now.Add(2 * grpcbootstrap.Refresh)})
	if len(l.read.Chain) == 0 && !l.inherited { // no process starts before the first files are there
		l.read = h
	}
}

// held is the newest state that every library has read.
func (l *lagging) held() enroll.Held { return l.heldAt(time.Now()) }

func (l *lagging) heldAt(now time.Time) enroll.Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.written) > 0 && !l.written[0].at.After(now) {
		l.read, l.written = l.written[0].held, l.written[1:]
	}
	return l.read
}
