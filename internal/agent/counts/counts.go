// Package counts counts what lasts: messages of gRPC calls and bytes of TCP
// connections that are still going on, which Envoy's own counters know at the end
// only. Envoy logs to it, by its access-log service on a Unix socket, each
// interval and at the end; how much more each entry says than the one before is
// added to a series with the labels that the entry has.
//
// Inputs: Envoy's entries, and who Envoy is. Outputs: the series, to be added to
// Envoy's counters of the same names and labels, which have what was short; a file
// from which the next agent goes on. It may import no other package of the agent.
// See docs/decisions/030.
package counts

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds: streams whose entries are compared; of each metric series, and bytes of
// their labels, since all of them are written to the file for each page.
const (
	maxStreams = 10_000
	maxSeries  = 10_000
	maxLabels  = 4 << 20
)

// How long a stream may say nothing before it is taken for ended: some of its own
// intervals, but not so few seconds that a busy machine makes them pass; where it
// has none yet, or a very long one, more than five of the longest that the pilot
// asks for. One that is forgotten too early would be counted twice.
const (
	intervals = 5
	quiet     = 5 * time.Minute
	forgotten = time.Hour
)

// other is what all labels say of the series that are too many.
const other = "other"

// Counted is what was counted so far, by metric and by labels, as Canonical
// writes those.
type Counted map[string]map[string]uint64

// Options are all that a Ledger depends on.
type Options struct {
	// Envoy is who logs, "" while it does not run: counters begin anew with it.
	Envoy   func() string
	File    string
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Ledger counts. Make it with New.
type Ledger struct {
	o       Options
	now     func() time.Time
	dropped *prometheus.CounterVec

	mu      sync.Mutex
	envoy   string // whose counts these are
	counted Counted
	bytes   map[string]int // of labels, by metric
	streams map[string]*stream
	changed bool      // since it was saved
	swept   time.Time // the last time that streams were forgotten
	saving  string    // the last error of it
}

// stream is a call or a connection that lasts.
type stream struct {
	// Values it has had, by metric.
	Values map[string]uint64 `json:"values"`
	Last   time.Time         `json:"last"` // when it said so
	Gap    time.Duration     `json:"gap"`  // the longest between two reports
}

// New returns an empty Ledger.
func New(o Options) *Ledger {
	l := &Ledger{o: o, now: time.Now, counted: Counted{}, bytes: map[string]int{}, streams: map[string]*stream{}}
	l.dropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "count_entries_dropped_total", Help: "Entries of what lasts that the agent did not count by their labels: series, of which there are more than it holds, so that they count under other; or stream, of which there are more than it holds, so that they count when they end.",
	}, []string{"reason"})
	o.Metrics.MustRegister(l.dropped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "counted_streams", Help: "Calls and connections that last, whose messages or bytes the agent counts."}, func() float64 { return float64(l.lasting()) }))
	return l
}

func (l *Ledger) lasting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep()
	return len(l.streams)
}

// report is what one entry says.
type report struct {
	stream string // unique among those of one Envoy
	ended  bool
	labels []Pair
	values map[string]uint64
}

// take counts a report of that Envoy; one that does not run any more is not heard.
func (l *Ledger) take(envoy string, r report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.of(envoy) || len(r.values) == 0 {
		return
	}
	known := l.streams[r.stream]
	if known == nil && !r.ended {
		if known = l.begin(r.stream); known == nil {
			l.dropped.WithLabelValues("stream").Inc()
			return
		}
	}
	var before map[string]uint64
	if known != nil {
		before = known.Values
		known.heard(l.now())
	}
	for metric, value := range r.values {
		if value > before[metric] {
			l.add(metric, r, value-before[metric])
		}
		if known != nil {
			known.Values[metric] = max(value, before[metric])
		}
	}
	l.changed = true
	if r.ended {
		delete(l.streams, r.stream)
	}
}

// begin keeps a stream in mind, nil where there are too many.
func (l *Ledger) begin(id string) *stream {
	if len(l.streams) >= maxStreams {
		return nil
	}
	l.streams[id] = &stream{Values: map[string]uint64{}}
	return l.streams[id]
}

func (s *stream) heard(now time.Time) {
	if !s.Last.IsZero() {
		s.Gap = max(s.Gap, now.Sub(s.Last))
	}
	s.Last = now
}

// silent says whether a stream must have ended without a word of it.
func (s *stream) silent(now time.Time) bool {
	atMost := forgotten
	if s.Gap > 0 && s.Gap < forgotten/intervals {
		atMost = max(intervals*s.Gap, quiet)
	}
	return now.Sub(s.Last) > atMost
}

// sweep forgets, once a minute, the streams that are silent. l.mu is held.
func (l *Ledger) sweep() {
	now := l.now()
	if now.Sub(l.swept) < time.Minute {
		return
	}
	before := len(l.streams)
	maps.DeleteFunc(l.streams, func(_ string, s *stream) bool { return s.silent(now) })
	l.swept, l.changed = now, l.changed || len(l.streams) < before
}

// add counts to a series. Those that there is no room for are one, so that the
// metric's sum stays right.
func (l *Ledger) add(metric string, r report, more uint64) {
	of := l.counted[metric]
	if of == nil {
		of = map[string]uint64{}
		l.counted[metric] = of
	}
	labels := Canonical(r.labels)
	if _, ok := of[labels]; !ok && (len(of) >= maxSeries || l.bytes[metric]+len(labels) > maxLabels) {
		l.dropped.WithLabelValues("series").Inc()
		labels = Canonical(others(r.labels))
	}
	if _, ok := of[labels]; !ok {
		l.bytes[metric] += len(labels)
	}
	of[labels] += more
}

// others are labels of the same names, which are the pilot's choice and few.
func others(labels []Pair) (out []Pair) {
	for _, p := range labels {
		out = append(out, Pair{p.Name, other})
	}
	return out
}

// of says whether an Envoy is the running one. What was counted of another is
// forgotten: its own counters are gone too, and the sum must begin anew as they
// do. l.mu is held.
func (l *Ledger) of(envoy string) bool {
	now := l.o.Envoy()
	if now != "" && now != l.envoy {
		l.envoy, l.counted, l.bytes, l.streams = now, Counted{}, map[string]int{}, map[string]*stream{}
		l.load()
	}
	l.sweep()
	return envoy == now && now != ""
}

// Counted is what was counted of the running Envoy. It is on disk before it is
// told, so that no agent after this one tells less.
func (l *Ledger) Counted() Counted {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.o.Envoy(); !l.of(now) {
		return nil
	}
	l.save()
	out := make(Counted, len(l.counted))
	for metric, of := range l.counted {
		out[metric] = maps.Clone(of)
	}
	return out
}

// Pair is a label with its value, as the text format escapes it.
type Pair struct{ Name, Value string }

// Canonical writes labels in the order of their names: name="value",name="value".
func Canonical(labels []Pair) string {
	slices.SortFunc(labels, func(a, b Pair) int { return cmp.Compare(a.Name, b.Name) })
	var out strings.Builder
	for i, p := range labels {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(p.Name + `="` + p.Value + `"`)
	}
	return out.String()
}
