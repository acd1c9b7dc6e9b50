// Package overflows knows which limits of circuit breakers this pod's Envoy meets,
// towards which service and subset, and since when, and exports it.
//
// Inputs: Envoy's counters of overflows and its clusters' limits. Outputs: metrics.
// Of the agent it may import envoy.
package overflows

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/agent/envoy"
)

// Bounds, however many clusters Envoy has.
const (
	maxSeries = 100 // limits with series of their own; the others are counted in one
	maxKnown  = 1000
)

// How often Envoy is asked, when a limit that is not met any more counts as enough,
// and how much of the time asking may take: Envoy looks through all its counters.
const (
	askEvery = 5 * time.Second
	askFirst = time.Second / 4 // until it answers: what it has counted by then is not of now
	quiet    = time.Minute
	share    = 100
)

// other stands for what has no series of its own.
const other = "other"

// limits are the label's values by Envoy's counters, and the names of the limits.
// Source: Envoy, "Cluster manager statistics"; envoy.config.cluster.v3
// CircuitBreakers.Thresholds.
var limits = map[string]struct{ label, threshold string }{
	"upstream_cx_overflow":         {"connections", "max_connections"},
	"upstream_rq_pending_overflow": {"pending_requests", "max_pending_requests"},
	"upstream_rq_active_overflow":  {"requests", "max_requests"},
	"upstream_rq_retry_overflow":   {"retries", "max_retries"},
}

// Options say where to look. All are required.
type Options struct {
	Counts  func(context.Context) ([]envoy.Overflow, error)
	Limits  func(context.Context, []string) (map[string]map[string]uint64, error)
	Metrics prometheus.Registerer
	Logger  *slog.Logger
}

// counter is one of Envoy's.
type counter struct{ cluster, stat string }

// limit is what was met.
type limit struct{ cluster, name string }

// spell is how a limit is met.
type spell struct {
	total       uint64
	allowed     uint64 // the limit's value; 0: not known
	since, last time.Time
}

// Watcher is a prometheus.Collector. Make it with New, use Run once.
type Watcher struct {
	o     Options
	asked bool
	seen  map[counter]uint64

	mu  sync.Mutex
	met map[limit]spell
	now func() time.Time
}

// New returns a watcher of what o says; it asks nothing yet.
func New(o Options) *Watcher {
	w := &Watcher{o: o, seen: map[counter]uint64{}, met: map[limit]spell{}, now: time.Now}
	o.Metrics.MustRegister(w)
	return w
}

// Run asks until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	timer := time.NewTimer(askFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			began := time.Now()
			if err := w.ask(ctx); err != nil { // it starts, or ends: asked again
				w.o.Logger.Debug("Envoy does not say which limits are met", "error", err)
			}
			next := askEvery
			if !w.asked {
				next = askFirst
			}
			timer.Reset(max(next, min(share*time.Since(began), quiet/3))) // else a spell would seem to end between
		}
	}
}

// ask takes what Envoy has counted since it was asked last.
func (w *Watcher) ask(ctx context.Context) error {
	found, err := w.o.Counts(ctx)
	if err != nil {
		return err
	}
	more, names := w.more(found)
	allowed := map[string]map[string]uint64{}
	if len(names) > 0 {
		if allowed, err = w.o.Limits(ctx, names); err != nil {
			return err // counted the next time
		}
	}
	now := w.now() // with its monotonic reading: a step of the clock neither ends nor lengthens a spell
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, n := range more {
		w.note(c, n, allowed[c.cluster][limits[c.stat].threshold], now)
	}
	before := w.seen
	w.seen = make(map[counter]uint64, len(found)) // Envoy does not say those that are 0, or gone
	for _, f := range found {
		c := counter{f.Cluster, f.Stat}
		_, counted := more[c]
		if _, known := before[c]; known || counted {
			w.seen[c] = f.Count
		}
	}
	w.asked = true
	return nil
}

// more is what was counted since the last time, and of which clusters. One that
// counts less than before has started again.
func (w *Watcher) more(found []envoy.Overflow) (more map[counter]uint64, clusters []string) {
	more, named, room := map[counter]uint64{}, map[string]bool{}, maxKnown-len(w.seen)
	for _, f := range found {
		c := counter{f.Cluster, f.Stat}
		before, known := w.seen[c]
		if !known {
			if room--; room < 0 {
				continue
			}
		}
		if f.Count < before {
			before = 0
		}
		if f.Count == before {
			continue
		}
		more[c] = f.Count - before
		if !named[f.Cluster] {
			named[f.Cluster], clusters = true, append(clusters, f.Cluster)
		}
	}
	return more, clusters
}

// note adds to a spell, or begins one. Of what an agent before this one may have
// seen it is not known when it was.
func (w *Watcher) note(c counter, n, allowed uint64, now time.Time) {
	l := limit{c.cluster, limits[c.stat].label}
	s, known := w.met[l]
	if !known && len(w.met) >= maxSeries {
		l = limit{other, other}
		s, allowed = w.met[l], 0
	}
	s.total, s.allowed = s.total+n, allowed
	if w.asked {
		if now.Sub(s.last) >= quiet {
			s.since = now
		}
		s.last = now
	}
	w.met[l] = s
}
