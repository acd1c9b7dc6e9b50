package agent

import (
	"context"
	"strconv"
	"time"

	"github.com/weftmesh/weft/internal/agent/node"
)

// listenersPoll is how long a gateway's new listener may stay without its limit.
const listenersPoll = 2 * time.Second

// listenerLimits are the listeners of one Envoy that have been told theirs.
type listenerLimits struct {
	envoy string
	told  map[string]bool
}

// boundsListeners: a sidecar's limit is in its bootstrap, by the one name that is
// known before; only Envoy knows how a gateway's listeners are called.
func (a *agent) boundsListeners() bool {
	return a.o.Envoy.InboundLimit > 0 && a.o.Node.Role != node.Sidecar
}

// boundListeners gives each of a gateway's listeners the limit of connections that
// connectionSettings.listenerConnectionLimit asks for, until ctx ends.
func (a *agent) boundListeners(ctx context.Context) error {
	tick := time.NewTicker(listenersPoll)
	defer tick.Stop()
	var l listenerLimits
	for {
		if err := a.boundNew(ctx, &l); err != nil { // it starts, or ends: asked again
			a.o.Log.Debug("Envoy's listeners are not told their limit yet", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// boundNew bounds the listeners that are not yet: all, of another Envoy than
// before, which has forgotten what the last one was told. A user's own value wins.
func (a *agent) boundNew(ctx context.Context, l *listenerLimits) error {
	switch now := a.envoy.Identity(); now {
	case "": // an Envoy that a killed agent left may answer before it is adopted
		return nil
	case l.envoy:
	default:
		*l = listenerLimits{envoy: now, told: map[string]bool{}}
	}
	names, err := a.admin.Listeners(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		key := "envoy.resource_limits.listener." + name + ".connection_limit"
		if _, own := a.o.Envoy.Runtime[key]; own || l.told[name] {
			continue
		}
		if err := a.admin.Runtime(ctx, key, strconv.FormatInt(a.o.Envoy.InboundLimit, 10)); err != nil {
			return err
		}
		l.told[name] = true
	}
	return nil
}
