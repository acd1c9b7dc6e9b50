package counts

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// booked is a ledger, and the Envoy that it believes in.
type booked struct {
	*Ledger
	envoy string
	clock time.Time
}

func newBooked(t *testing.T, file string) *booked {
	t.Helper()
	b := &booked{envoy: "7/100", clock: time.Unix(1_000_000, 0)}
	b.Ledger = New(Options{Envoy: func() string { return b.envoy }, File: file, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	b.now = func() time.Time { return b.clock }
	return b
}

// entry is of a call on a connection, that began so many microseconds ago.
type entry struct {
	connection, id string
	began          int
	requests       uint64
	ended          bool
	tags           map[string]string
}

var messagesLog = metrics("istio:request_messages_total,response_messages_total,not_known_total")

func (b *booked) call(t *testing.T, e entry) {
	t.Helper()
	state, err := anypb.New(&grpcstatsv3.FilterObject{RequestMessageCount: e.requests, ResponseMessageCount: 2 * e.requests})
	if err != nil {
		t.Fatal(err)
	}
	c := &logv3.AccessLogCommon{
		StreamId: e.id, StartTime: timestamppb.New(time.Unix(5, int64(e.began)*1000)), AccessLogType: logv3.AccessLogType_DownstreamPeriodic,
		FilterStateObjects: map[string]*anypb.Any{messages: state}, CustomTags: map[string]string{connection: e.connection, "reporter": "=source"},
	}
	maps.Copy(c.GetCustomTags(), e.tags)
	if e.ended {
		c.AccessLogType = logv3.AccessLogType_DownstreamEnd
	}
	b.take(b.envoy, read(messagesLog, c, ofCall(&logv3.HTTPAccessLogEntry{CommonProperties: c})))
}

func (b *booked) requests(labels string) uint64 {
	return b.Counted()["istio_request_messages_total"][labels]
}

// Entries say how much there was so far; a caller who gives two calls one ID does
// not make one of them.
func TestDifferences(t *testing.T) {
	b := newBooked(t, filepath.Join(t.TempDir(), "counts"))
	for _, e := range []entry{
		{connection: "1", id: "same", began: 1, requests: 3}, {connection: "1", id: "same", began: 2, requests: 10}, {connection: "2", id: "same", began: 1, requests: 100},
		{connection: "1", id: "same", began: 1, requests: 3}, {connection: "1", id: "same", began: 1, requests: 5},
		{connection: "1", id: "same", began: 1, requests: 6, ended: true}, {connection: "1", id: "same", began: 2, requests: 10, ended: true},
		{connection: "3", id: "not seen before", requests: 1000, ended: true}, {connection: "2", id: "same", began: 1, requests: 101},
	} {
		b.call(t, e)
	}
	if got := b.requests(`reporter="source"`); got != 6+10+101+1000 {
		t.Errorf("%d requests", got)
	}
	if got := b.Counted()["istio_response_messages_total"][`reporter="source"`]; got != 2*(6+10+101+1000) {
		t.Errorf("%d responses", got)
	}
	if n := b.lasting(); n != 1 || len(b.Counted()) != 2 {
		t.Errorf("%d streams last, counted %v", n, b.Counted())
	}
}

// Labels are as on the page, whatever is in them.
func TestLabels(t *testing.T) {
	b := newBooked(t, filepath.Join(t.TempDir(), "counts"))
	b.call(t, entry{requests: 1, tags: map[string]string{
		"z": "=", "a": "=\"\\\n", "not ours": "x", "source_app": `=x",reporter="y`,
	}})
	want := `a="\"\\\n",reporter="source",source_app="x\",reporter=\"y",z=""`
	if b.requests(want) != 1 {
		t.Errorf("%v", b.Counted())
	}
}

// An Envoy's counts end with it; what comes late of one that ended is not heard.
func TestAnotherEnvoy(t *testing.T) {
	b := newBooked(t, filepath.Join(t.TempDir(), "counts"))
	b.call(t, entry{connection: "1", requests: 5})
	if b.requests(`reporter="source"`) != 5 {
		t.Fatal(b.Counted())
	}
	late := read(messagesLog, &logv3.AccessLogCommon{}, map[string]uint64{"request_messages_total": 9})
	b.envoy = ""
	if got := b.Counted(); got != nil {
		t.Errorf("no Envoy runs: %v", got)
	}
	b.envoy = "8/200"
	b.take("7/100", late)
	if got := b.Counted(); len(got) != 0 || b.lasting() != 0 {
		t.Errorf("of another Envoy: %v, %d streams", got, b.lasting())
	}
	b.call(t, entry{connection: "1", requests: 2})
	if got := b.requests(`reporter="source"`); got != 2 {
		t.Errorf("the next counts %d", got)
	}
}

// The next agent goes on from what the last page said: it neither says less nor
// counts twice.
func TestAnotherAgent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	first := newBooked(t, file)
	first.call(t, entry{connection: "1", requests: 5})
	shown := first.requests(`reporter="source"`)
	first.call(t, entry{connection: "1", requests: 7})                // not shown any more
	first.call(t, entry{connection: "2", requests: 100, ended: true}) // nor this, which is lost

	second := newBooked(t, file)
	if got := second.requests(`reporter="source"`); got != shown || second.lasting() != 1 {
		t.Fatalf("%d, the agent before said %d; %d streams last", got, shown, second.lasting())
	}
	second.call(t, entry{connection: "1", requests: 8, ended: true})
	if got := second.requests(`reporter="source"`); got != 8 {
		t.Errorf("%d after the end", got)
	}
	other := newBooked(t, file)
	other.envoy = "7/101"
	if got := other.Counted(); len(got) != 0 {
		t.Errorf("the pid alone is no Envoy: %v", got)
	}
}

// A file of any content harms nothing.
func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"envoy":"7/100","counted":{"istio_request_messages_total":null},"streams":{"x":null,"y":{}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "counts")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		b := newBooked(t, file)
		b.call(t, entry{connection: "1", requests: 5})
		b.Counted()
	})
}

// A stream that is not followed, as there are too many, counts when it ends; those
// that have gone silent make room.
func TestTooManyStreams(t *testing.T) {
	b := newBooked(t, filepath.Join(t.TempDir(), "counts"))
	for i := range maxStreams {
		b.call(t, entry{connection: fmt.Sprint(i), requests: 1})
	}
	b.call(t, entry{connection: "more", requests: 10})
	if got := b.requests(`reporter="source"`); got != maxStreams || b.lasting() != maxStreams || dropped(b, "stream") != 1 {
		t.Errorf("%d of %d, dropped %v", got, b.lasting(), dropped(b, "stream"))
	}
	b.call(t, entry{connection: "more", requests: 11, ended: true})
	if got := b.requests(`reporter="source"`); got != maxStreams+11 {
		t.Errorf("%d after its end", got)
	}
	b.clock = b.clock.Add(forgotten + time.Minute)
	b.call(t, entry{connection: "later", requests: 1})
	if n := b.lasting(); n != 1 || dropped(b, "stream") != 1 {
		t.Errorf("%d streams after an hour", n)
	}
}

// tagged is a short call with a label of its own.
func (b *booked) tagged(t *testing.T, path string, requests uint64) {
	t.Helper()
	b.call(t, entry{connection: path, requests: requests, ended: true, tags: map[string]string{"path": "=" + path}})
}

// Series that a metric has no room for are one, so that its sum stays right; they
// take no room from other metrics, and are the same for the next agent.
func TestTooManySeries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	b := newBooked(t, file)
	for i := range maxSeries + 50 {
		b.tagged(t, fmt.Sprint(i, `","=\`), 1)
	}
	rest := `path="other",reporter="other"`
	if of := b.Counted()["istio_request_messages_total"]; len(of) != maxSeries+1 || of[rest] != 50 || dropped(b, "series") != 2*50 {
		t.Errorf("%d series, %d in other, dropped %d", len(of), of[rest], dropped(b, "series"))
	}
	b.take(b.envoy, report{stream: "tcp", labels: []Pair{{"a", "b"}}, values: map[string]uint64{"istio_tcp_sent_bytes_total": 7}})
	if got := b.Counted()["istio_tcp_sent_bytes_total"][`a="b"`]; got != 7 {
		t.Errorf("messages leave no room for bytes: %d", got)
	}
	next := newBooked(t, file)
	next.tagged(t, fmt.Sprint(0, `","=\`), 2)
	next.tagged(t, "later", 3)
	if of := next.Counted()["istio_request_messages_total"]; len(of) != maxSeries+1 || of[rest] != 53 || of[`path="0\",\"=\\",reporter="source"`] != 3 {
		t.Errorf("the next agent: %d series, %d in other", len(of), of[rest])
	}
}

// Long labels are bounded together, by the next agent too.
func TestTooLongLabels(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	b := newBooked(t, file)
	for i := range 10 {
		b.tagged(t, fmt.Sprint(i)+strings.Repeat("x", maxLabels/8), 1)
	}
	next := newBooked(t, file)
	for _, agent := range []*booked{b, next} {
		if of := agent.Counted()["istio_request_messages_total"]; len(of) != 7+1 || of[`path="other",reporter="other"`] != 3 {
			t.Errorf("%d series, %d in other", len(of), of[`path="other",reporter="other"`])
		}
	}
	next.tagged(t, "y"+strings.Repeat("x", maxLabels/8), 1)
	if got := next.requests(`path="other",reporter="other"`); got != 4 {
		t.Errorf("the next agent has %d in other", got)
	}
}

// A stream whose end was not heard is forgotten when it has missed some of its own
// intervals, without another coming; one of a long interval is not.
func TestSilence(t *testing.T) {
	b := newBooked(t, filepath.Join(t.TempDir(), "counts"))
	b.call(t, entry{connection: "once", requests: 1})
	for i := range 3 {
		b.call(t, entry{connection: "often", requests: uint64(i)})
		b.clock = b.clock.Add(5 * time.Second)
	}
	for i := range 2 {
		b.call(t, entry{connection: "seldom", requests: uint64(i)})
		b.clock = b.clock.Add(2 * time.Minute)
	}
	steps := []struct {
		later time.Duration
		last  int
	}{{0, 3}, {time.Minute, 2}, {6 * time.Minute, 2}, {2 * time.Minute, 1}, {time.Hour, 0}}
	for _, s := range steps {
		b.clock = b.clock.Add(s.later)
		if n := b.lasting(); n != s.last {
			t.Errorf("after %v more %d streams last, want %d", s.later, n, s.last)
		}
	}
}

// The next agent goes on with how long streams have been silent; the time between
// the two is none, as nobody heard then what they said.
func TestSilenceGoesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	b := newBooked(t, file)
	for range 2 {
		b.call(t, entry{connection: "ended unheard", requests: 1})
		b.clock = b.clock.Add(time.Second)
	}
	b.clock = b.clock.Add(4 * time.Minute)
	b.call(t, entry{connection: "lasts", requests: 1})
	b.Counted()
	next := newBooked(t, file)
	next.clock = b.clock.Add(24 * time.Hour)
	if next.Counted(); next.lasting() != 2 {
		t.Errorf("%d streams, of two", next.lasting())
	}
	next.clock = next.clock.Add(2 * time.Minute)
	if n := next.lasting(); n != 1 {
		t.Errorf("%d streams when one has been silent for long", n)
	}
}

func dropped(b *booked, reason string) int {
	out := &dto.Metric{}
	if err := b.dropped.WithLabelValues(reason).Write(out); err != nil {
		return -1
	}
	return int(out.GetCounter().GetValue())
}
