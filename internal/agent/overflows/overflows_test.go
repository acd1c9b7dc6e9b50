package overflows

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/weftmesh/weft/internal/agent/envoy"
)

const (
	reviews = "outbound|80|v1|reviews.shop.svc.cluster.local"
	active  = "upstream_rq_active_overflow"
)

// bench is a watcher of an Envoy that says what the test wants.
type bench struct {
	*testing.T
	*Watcher
	registry *prometheus.Registry
	counts   map[counter]uint64
	limits   map[string]map[string]uint64
	err      error
	at       time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, registry: prometheus.NewRegistry(), counts: map[counter]uint64{}, limits: map[string]map[string]uint64{}, at: time.Unix(1000, 0)}
	b.Watcher = New(Options{
		Metrics: b.registry, Logger: slog.New(slog.DiscardHandler),
		Counts: func(context.Context) (out []envoy.Overflow, err error) {
			for c, n := range b.counts {
				out = append(out, envoy.Overflow{Cluster: c.cluster, Stat: c.stat, Count: n})
			}
			return out, b.err
		},
		Limits: func(context.Context, []string) (map[string]map[string]uint64, error) { return b.limits, b.err },
	})
	b.now = func() time.Time { return b.at }
	return b
}

// asks has the watcher ask some seconds later.
func (b *bench) asks(later time.Duration) {
	b.Helper()
	b.at = b.at.Add(later)
	if err := b.ask(b.Context()); !errors.Is(err, b.err) {
		b.Error(err)
	}
}

// want are all series, without their comments and in any order.
func (b *bench) want(series ...string) {
	b.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	var page bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&page, f); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	for line := range strings.Lines(page.String()) {
		if !strings.HasPrefix(line, "#") {
			n++
		}
	}
	for _, s := range series {
		if !strings.Contains(page.String(), s+"\n") {
			b.Errorf("no %s", s)
		}
	}
	if n != len(series) || b.Failed() {
		b.Fatalf("%d series, want %d:\n%s", n, len(series), page.String())
	}
}

const v1 = `destination_port="80",destination_service="reviews.shop.svc.cluster.local",destination_subset="v1",limit=`

// A limit is there with when it began to be met while it is; a minute later only how
// often it was.
func TestSpell(t *testing.T) {
	b := newBench(t)
	b.limits[reviews] = map[string]uint64{"max_requests": 1, "max_connections": 2}
	b.asks(0)
	b.want()
	b.counts[counter{reviews, active}] = 3
	b.asks(5 * time.Second)
	b.want(`weft_upstream_overflows_total{`+v1+`"requests"} 3`, `weft_upstream_overflowing_timestamp_seconds{`+v1+`"requests"} 1005`, `weft_upstream_overflowing_limit{`+v1+`"requests"} 1`)
	b.counts[counter{reviews, active}] = 4
	b.asks(50 * time.Second)
	b.want(`weft_upstream_overflows_total{`+v1+`"requests"} 4`, `weft_upstream_overflowing_timestamp_seconds{`+v1+`"requests"} 1005`, `weft_upstream_overflowing_limit{`+v1+`"requests"} 1`)
	b.asks(time.Minute)
	b.want(`weft_upstream_overflows_total{` + v1 + `"requests"} 4`)
	b.counts = map[counter]uint64{{reviews, active}: 2, {reviews, "upstream_cx_overflow"}: 1} // Envoy has started again
	b.asks(5 * time.Second)
	b.want(`weft_upstream_overflows_total{`+v1+`"requests"} 6`, `weft_upstream_overflowing_timestamp_seconds{`+v1+`"requests"} 1120`, `weft_upstream_overflowing_limit{`+v1+`"requests"} 1`,
		`weft_upstream_overflows_total{`+v1+`"connections"} 1`, `weft_upstream_overflowing_timestamp_seconds{`+v1+`"connections"} 1120`, `weft_upstream_overflowing_limit{`+v1+`"connections"} 2`)
}

// How long a limit is not met is measured by a clock that is never set.
func TestSpellEndsWhateverTheClockSays(t *testing.T) {
	b := newBench(t)
	b.at = time.Now()
	b.asks(0)
	b.counts[counter{reviews, active}] = 3
	b.asks(time.Second)
	last := b.met[limit{reviews, "requests"}].last
	if last.IsZero() || last == last.Round(0) {
		t.Errorf("it was met at %v, which has no monotonic reading", last)
	}
}

// An Envoy that has started again, and for a while has met no limit, counts from nothing.
func TestQuietRestart(t *testing.T) {
	b := newBench(t)
	c := counter{reviews, active}
	b.asks(0)
	for _, n := range []uint64{7, 0, 7, 0, 10} {
		if b.counts[c] = n; n == 0 {
			delete(b.counts, c)
		}
		b.asks(time.Hour)
	}
	b.want(`weft_upstream_overflows_total{`+v1+`"requests"} 24`, fmt.Sprintf(`weft_upstream_overflowing_timestamp_seconds{%s"requests"} %d`, v1, b.at.Unix()))
}

// Clusters come and go; those that are there have room.
func TestRoomForTheClustersThatAreThere(t *testing.T) {
	b := newBench(t)
	b.asks(0)
	for i := range 3 {
		b.counts = map[counter]uint64{}
		for n := range maxKnown - 100 {
			b.counts[counter{fmt.Sprintf("outbound|80||%d.%d", i, n), active}] = 1
		}
		b.asks(time.Second)
		for c := range b.counts {
			b.counts[c] = 2
		}
		b.asks(time.Second)
	}
	all := uint64(0)
	for _, s := range b.met {
		all += s.total
	}
	if want := uint64(3 * 2 * (maxKnown - 100)); all != want {
		t.Errorf("%d counted, want %d", all, want)
	}
}

// What was counted before this agent began is counted, but not as of now; while
// Envoy does not answer nothing is lost.
func TestAgentThatIsStartedAgain(t *testing.T) {
	b := newBench(t)
	b.counts[counter{reviews, "upstream_rq_retry_overflow"}] = 7
	b.limits[reviews] = map[string]uint64{"max_retries": 3}
	b.err = errors.New("not up yet")
	b.asks(0)
	b.want()
	b.err = nil
	b.asks(time.Second)
	b.want(`weft_upstream_overflows_total{` + v1 + `"retries"} 7`)
	b.counts[counter{reviews, "upstream_rq_retry_overflow"}] = 9
	b.err = errors.New("away")
	b.asks(time.Second)
	b.err = nil
	b.asks(time.Second)
	b.want(`weft_upstream_overflows_total{`+v1+`"retries"} 9`, `weft_upstream_overflowing_timestamp_seconds{`+v1+`"retries"} 1003`, `weft_upstream_overflowing_limit{`+v1+`"retries"} 3`)
}

// Each limit has a counter of Envoy's, and its value.
func TestLimits(t *testing.T) {
	b := newBench(t)
	b.limits[reviews] = map[string]uint64{"max_connections": 1, "max_pending_requests": 2, "max_requests": 3, "max_retries": 4}
	b.asks(0)
	var want []string
	for stat, of := range limits {
		b.counts[counter{reviews, stat}] = 9
		n := b.limits[reviews][of.threshold]
		want = append(want, fmt.Sprintf(`weft_upstream_overflowing_limit{%s%q} %d`, v1, of.label, n), fmt.Sprintf(`weft_upstream_overflows_total{%s%q} 9`, v1, of.label),
			fmt.Sprintf(`weft_upstream_overflowing_timestamp_seconds{%s%q} 1001`, v1, of.label))
	}
	b.asks(time.Second)
	b.want(want...)
}

// More clusters than have series are counted in one.
func TestSeriesAreBounded(t *testing.T) {
	b := newBench(t)
	b.asks(0)
	for i := range 2 * maxKnown {
		b.counts[counter{fmt.Sprintf("outbound|80||s%d", i), active}] = 1
	}
	b.asks(time.Second)
	b.asks(time.Second)
	if len(b.met) != maxSeries+1 || len(b.seen) != maxKnown || b.met[limit{other, other}].total != maxKnown-maxSeries {
		t.Errorf("%d limits, %d counters, %+v", len(b.met), len(b.seen), b.met[limit{other, other}])
	}
}
