package agent

import (
	"context"
	"errors"
	"time"

	"github.com/weftmesh/weft/internal/agent/node"
)

// drainPoll is how often connections are counted.
const drainPoll = 100 * time.Millisecond

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
	for {
		if time.Now().After(soonest) && a.drained(ctx, begun) {
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
	if err := errors.Join(a.envoy.Retire(), a.admin.Drain(ctx, a.inboundOnly())); err != nil {
		a.o.Log.Warn("Envoy cannot be drained", "error", err)
	}
}

// drained reports whether no connection is left, or after a while, whether
// none is left that does anything. An Envoy that cannot be asked has none.
func (a *agent) drained(ctx context.Context, begun time.Time) bool {
	if a.envoy.PID() == 0 {
		return true
	}
	open, busy, err := a.admin.Active(ctx, a.inboundOnly())
	if time.Since(begun) > a.o.Drain.Idle {
		open = busy
	}
	return err != nil || open == 0
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
