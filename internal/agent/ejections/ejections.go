// Package ejections knows which hosts this pod's Envoy leaves out as outliers,
// why and since when, and exports it.
//
// Inputs: the file to which Envoy writes its outlier detection's events, and a
// question to Envoy which hosts are out. Outputs: metrics, and reports to the pilot,
// which knows the pods and writes Kubernetes' Events. The events say why; what
// Envoy answers is the truth of who is out: a host that goes away with its cluster
// has no event. Of the agent it may import envoy.
package ejections

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/agent/envoy"
)

// Bounds, whatever Envoy's configuration makes of the number of hosts.
const (
	maxHosts  = 4096            // that are remembered
	maxBack   = 100             // of which the pilot is still to hear that they are taken back
	maxSeries = 100             // hosts with series of their own; the others are counted in one
	maxKinds  = 200             // series of the counter; the others are counted in one
	lateLog   = 5 * time.Minute // within which the log says what Envoy has said before; it flushes as fileFlushInterval says
)

// How often the file is read, and Envoy asked while hosts are out.
const (
	readEvery = time.Second
	askEvery  = 5 * time.Second
	untold    = "unknown" // a reason that no event told
)

// Options say where to look. All but Pilot are required.
type Options struct {
	Log     string                                         // path of Envoy's event log
	Out     func(context.Context) ([]envoy.OutHost, error) // the hosts that Envoy leaves out now
	Pilot   Pilot
	Metrics prometheus.Registerer
	Logger  *slog.Logger
}

// host names one that is left out.
type host struct{ cluster, address string }

// ejection is why and since when a host is out.
type ejection struct {
	reason string
	since  time.Time
	told   bool   // the pilot has heard of it
	pod    string // NAMESPACE/POD; "" of what is none, or not known yet
}

// Watcher is a prometheus.Collector. Make it with New, use Run once.
type Watcher struct {
	o      Options
	log    logFile
	unsure bool // an event may have been missed

	mu    sync.Mutex
	asked bool // until Envoy answered, what is read may be of one that has ended
	out   map[host]ejection
	gone  map[host]departed
	back  []host // taken back, of whose ejection the pilot was told; it is not told of this yet
	total map[kind]uint64
}

// departed was out. Envoy itself and its log say so one after the other, and the pilot
// may be hearing of the ejection just then.
type departed struct {
	ejection
	at     time.Time
	logged bool // by an event; else Envoy alone has said it
}

// kind is what ejections are counted by.
type kind struct{ cluster, reason string }

// New returns a watcher of what o says; it reads nothing yet. What the log holds by
// now counts as seen by an agent before.
func New(o Options) *Watcher {
	w := &Watcher{o: o, log: newLogFile(o.Log), unsure: true, out: map[host]ejection{}, gone: map[host]departed{}, total: map[kind]uint64{}}
	o.Metrics.MustRegister(w)
	return w
}

// Run reads events until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	go w.reports(ctx) // the pilot may be away for long
	last := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			w.read()
			if (w.unsure || w.any()) && now.Sub(last) >= askEvery {
				last = now
				w.ask(ctx, now)
			}
		}
	}
}

// read takes what Envoy has written since it was read last.
func (w *Watcher) read() {
	missed, err := w.log.read(w.take)
	if err != nil {
		w.o.Logger.Warn("Envoy's log of ejections", "error", err)
	}
	w.unsure = w.unsure || missed || err != nil
}

func (w *Watcher) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.out) > 0
}

// take notes one event. What an agent before this one has seen is not counted again.
func (w *Watcher) take(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := host{e.Cluster, e.Address}
	switch {
	case e.Action == "UNEJECT":
		w.returned(h)
	case e.Action != "EJECT" || !e.Enforced || e.Type == "DEGRADED": // only noted, or still asked
	default:
		if _, known := w.out[h]; known || len(w.out) < maxHosts {
			w.out[h] = ejection{reason: e.reason(), since: e.Timestamp}
			delete(w.gone, h)
		}
		if !e.old {
			w.count(kind{e.Cluster, e.reason()})
		}
	}
}

// returned notes what the log says of a host that is back. w.mu is held.
func (w *Watcher) returned(h host) {
	e, known := w.out[h]
	if !known {
		e = w.gone[h].ejection
	}
	delete(w.out, h)
	delete(w.gone, h)
	if e.told {
		w.tellBack(h)
	} else if known {
		w.depart(h, departed{ejection: e, at: time.Now(), logged: true})
	}
}

func (w *Watcher) tellBack(h host) {
	if len(w.back) < maxBack {
		w.back = append(w.back, h)
	}
}

func (w *Watcher) depart(h host, d departed) {
	if len(w.gone) < maxHosts {
		w.gone[h] = d
	}
}

func (w *Watcher) count(k kind) {
	if _, known := w.total[k]; !known && len(w.total) >= maxKinds {
		k = kind{other, other}
	}
	w.total[k]++
}

// ask has Envoy say who is out, and believes it.
func (w *Watcher) ask(ctx context.Context, now time.Time) {
	found, err := w.o.Out(ctx)
	if err != nil { // it starts, or ends: asked again
		w.o.Logger.Debug("Envoy does not say which hosts it leaves out", "error", err)
		return
	}
	w.unsure = false
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[host]ejection, len(found))
	for _, f := range found[:min(len(found), maxHosts)] {
		h := host{f.Cluster, f.Address}
		out[h] = ejection{reason: untold, since: now.Round(0).UTC()}
		if e, known := w.out[h]; known {
			out[h] = e
		}
	}
	maps.DeleteFunc(w.gone, func(_ host, d departed) bool { return now.Sub(d.at) > lateLog })
	for h, e := range w.out {
		if _, still := out[h]; !still {
			w.depart(h, departed{ejection: e, at: now})
		}
	}
	w.out, w.asked = out, true
}

// sorted are the hosts that are out, those that are so longest first.
func (w *Watcher) sorted() ([]host, map[host]ejection) {
	if !w.asked {
		return nil, nil
	}
	hosts := make([]host, 0, len(w.out))
	for h := range w.out {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b host) int {
		return cmp.Or(w.out[a].since.Compare(w.out[b].since), strings.Compare(a.cluster, b.cluster), strings.Compare(a.address, b.address))
	})
	return hosts, w.out
}
