package golden

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

// atOnce makes calls one by one, each while those before it are under way, and
// counts how they end.
func (r *run) atOnce(c Call, call simulate.Call) []string {
	foretold, err := r.config.AtOnce(call, c.AtOnce)
	if err != nil {
		return []string{"simulator: " + err.Error()}
	}
	f := &findings{by: "simulator"}
	c.Want.crowd(f, foretold)
	if r.proxy == nil || len(f.all) > 0 {
		return f.all
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	crowd := simulate.Crowd{Statuses: map[int]int{}, Flags: foretold.Flags}
	connections := map[int64]bool{}
	f.by = "Envoy"
	for range c.AtOnce {
		done := make(chan struct{})
		arrived := r.proxy.Arrivals()
		wg.Go(func() {
			defer close(done)
			found, err := r.proxy.Do(r.ctx, call)
			if err == nil {
				found.Flags = awaitFlags(r.ctx, c.Want, r.proxy, found)
			}
			mu.Lock()
			defer mu.Unlock()
			if crowd.Statuses[found.Status]++; err != nil {
				f.all = append(f.all, "Envoy: "+err.Error())
			}
			if found.Flags != "-" {
				crowd.Refused++
				crowd.Flags = found.Flags
			}
			for _, s := range found.Seen {
				connections[s.Conn] = true
			}
		})
		r.settled(done, arrived)
	}
	wg.Wait()
	crowd.Connections = len(connections)
	f.differ("refused", foretold.Refused, crowd.Refused)
	f.differ("their flags", foretold.Flags, crowd.Flags)
	c.Want.crowd(f, crowd)
	return f.all
}

// crowd checks what became of calls that were made at once.
func (w Want) crowd(f *findings, c simulate.Crowd) {
	f.differ("counts", w.Counts, c.Statuses)
	if w.Flags != "" {
		f.differ("flags of those refused", w.Flags, c.Flags)
	}
	if w.Connections > 0 {
		f.differ("connections", w.Connections, c.Connections)
	}
}

// settled waits until a call has arrived at its endpoint or is answered, or
// for so long that the proxy must have queued it.
func (r *run) settled(done, arrived <-chan struct{}) {
	queued := time.NewTimer(150 * time.Millisecond)
	defer queued.Stop()
	select {
	case <-done:
	case <-arrived:
	case <-queued.C:
	}
}
