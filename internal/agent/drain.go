package agent

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/weftmesh/weft/internal/agent/envoy"
	"github.com/weftmesh/weft/internal/agent/node"
)

const (
	// drainPoll is how often connections are counted.
	drainPoll = 100 * time.Millisecond
	// drainQuiet is how long nobody may have come for clients to count as gone:
	// longer than a load balancer's or kube-proxy's pause between two of them.
	drainQuiet = 500 * time.Millisecond
	// drainTries is how often an Envoy that does not answer is told to drain.
	drainTries = 5
	// drainOrder is how long /drained waits for the order to drain, which the
	// kubelet gives at the same time, but by starting a program.
	drainOrder = 10 * time.Second
)

// drain tells the world to go elsewhere and waits until it has: readiness fails,
// clients are told to close, and the last inbound connection ends. A sidecar's
// own calls go on: the app may still need them. It returns after the time that
// the options give, at the latest, or when ctx or hurry ends.
func (a *agent) drain(ctx, hurry context.Context) {
	a.beginDrain(ctx)
	begun := a.status.drainBegan()
	latest, soonest := time.After(time.Until(begun.Add(a.o.Drain.Max))), begun.Add(a.o.Drain.Min)
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	watch := newWatch(a)
	for {
		if gone := watch.gone(ctx, begun); gone && time.Now().After(soonest) {
			a.o.Log.Info("drained", "took", time.Since(begun))
			return
		}
		select {
		case <-tick.C:
		case <-latest:
			a.o.Log.Warn("connections are still open at the end of the drain; cutting them")
			return
		case <-hurry.Done():
			a.o.Log.Warn("drain cut short")
			return
		case <-ctx.Done():
			return
		}
	}
}

// beginDrain is idempotent: a drain on request goes on when SIGTERM follows.
func (a *agent) beginDrain(ctx context.Context) {
	if !a.status.startDrain() {
		return
	}
	a.o.Log.Info("draining")
	if err := a.envoy.Retire(); err != nil {
		a.o.Log.Warn("Envoy may be adopted while it drains", "error", err)
	}
	for range drainTries {
		err := a.admin.Drain(ctx, a.inboundOnly())
		if err == nil || ctx.Err() != nil || a.envoy.PID() == 0 {
			return
		}
		a.o.Log.Warn("Envoy cannot be drained", "error", err)
	}
}

// watch observes whether clients still come.
type watch struct {
	*agent
	quiet   time.Duration
	arrived int64
	last    time.Time // when somebody came
}

func newWatch(a *agent) *watch {
	return &watch{agent: a, quiet: min(drainQuiet, a.o.Drain.Min), arrived: -1}
}

// look reads what Envoy has to do, and whether nobody has come for a while. An
// Envoy that does not say, for the machine is overloaded, is taken for busy: to
// end it would cut what it serves.
func (w *watch) look(ctx context.Context) (t envoy.Traffic, quiet bool) {
	if w.envoy.PID() == 0 {
		return t, true
	}
	t, err := w.admin.Traffic(ctx, w.inboundOnly())
	if err != nil {
		w.o.Log.Debug("Envoy does not say what it has to do", "error", err)
		w.last = time.Now()
		return envoy.Traffic{Open: 1, Busy: 1}, false
	}
	if t.Arrived != w.arrived {
		w.arrived, w.last = t.Arrived, time.Now()
	}
	return t, time.Since(w.last) >= w.quiet
}

// gone reports whether no connection is left and none comes, or after a while,
// whether none is left that does anything.
func (w *watch) gone(ctx context.Context, begun time.Time) bool {
	t, quiet := w.look(ctx)
	if time.Since(begun) > w.o.Drain.Idle {
		return t.Busy == 0
	}
	return t.Open == 0 && quiet
}

// serveDrained answers when the app may end, for others have gone elsewhere: no
// request runs and none comes any more. It is the app's pre-stop hook, so that
// the app goes on serving those who have yet to learn that the pod ends. Requests
// that do not end are not waited for longer than idle connections, and clients
// that never go half of the drain: the app needs the rest.
func (a *agent) serveDrained(w http.ResponseWriter, r *http.Request) {
	tick, late := time.NewTicker(drainPoll), time.Now().Add(drainOrder)
	defer tick.Stop()
	watch := newWatch(a)
	for {
		begun := a.status.drainBegan()
		if begun.IsZero() && time.Now().After(late) {
			http.Error(w, "the pod is not being drained", http.StatusServiceUnavailable)
			return
		}
		if !begun.IsZero() {
			t, quiet := watch.look(r.Context())
			took := time.Since(begun)
			if took > a.o.Drain.Max/2 || quiet && took > a.o.Drain.Min && (t.Busy == 0 || took > a.o.Drain.Idle) {
				a.o.Log.Info("the app may end", "after", took)
				fmt.Fprintln(w, "drained")
				return
			}
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

func (a *agent) inboundOnly() bool { return a.o.Node.Role == node.Sidecar }

// drainOnRequest serves POST /drain and the order of that name: what a pre-stop
// hook, or a supervisor that ends the app before the proxy, asks for.
func (a *agent) drainOnRequest(ctx, ordered context.Context) error {
	select {
	case <-a.status.drain:
		a.beginDrain(ctx)
	case <-ordered.Done():
		a.beginDrain(ctx)
	case <-ctx.Done():
	}
	<-ctx.Done()
	return ctx.Err()
}
