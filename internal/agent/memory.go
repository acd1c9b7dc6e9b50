package agent

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Memory that is free but not given back, above which it is worth two
// collections to do so, and how often that is looked at.
const (
	maxUnreturned = 1 << 20
	settleEvery   = 20 * time.Second
)

// settle gives memory back after a burst: the start, which decodes Envoy's
// whole schema to write the bootstrap and relays the largest responses there
// are, or a pilot's return. By itself the runtime would do so after minutes.
func (a *agent) settle(ctx context.Context) error {
	select {
	case <-a.status.wasReady:
		giveBack()
	case <-ctx.Done():
		return ctx.Err()
	}
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if unreturned() > maxUnreturned {
				giveBack()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// giveBack collects twice: the first takes garbage, the second what pools kept.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// unreturned is the heap's memory, in bytes, that no live object needed at the
// last collection and that the system has not got back.
func unreturned() uint64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(samples)
	live, objects := samples[0].Value.Uint64(), samples[1].Value.Uint64()
	out := samples[2].Value.Uint64() + samples[3].Value.Uint64()
	if objects > live {
		out += objects - live
	}
	return out
}
