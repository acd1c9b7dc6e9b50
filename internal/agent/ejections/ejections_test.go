package ejections

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/weftmesh/weft/internal/agent/envoy"
)

// bench is a watcher of a file and of an Envoy that says what the test wants.
type bench struct {
	*testing.T
	*Watcher
	path     string
	registry *prometheus.Registry
	out      []envoy.OutHost
	err      error
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, path: filepath.Join(t.TempDir(), "log"), registry: prometheus.NewRegistry()}
	b.Watcher = b.watcher(b.registry)
	return b
}

func (b *bench) watcher(r prometheus.Registerer) *Watcher {
	return New(Options{
		Log: b.path, Metrics: r, Logger: slog.New(slog.DiscardHandler),
		Out: func(context.Context) ([]envoy.OutHost, error) { return b.out, b.err },
	})
}

// append writes as Envoy does: at the end, wherever that is.
func (b *bench) append(text string) {
	b.Helper()
	f, err := os.OpenFile(b.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		b.Fatal(err)
	}
}

// line is an event of an hour ago: the clock was set back since the agent's start.
func line(kind, action, address string, enforced bool) string {
	at := time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")
	return fmt.Sprintf(`{"type":%q,"timestamp":%q,"secs_since_last_action":"3","cluster_name":"outbound|80|v1|a.n.svc","upstream_url":%q,"action":%q,"num_ejections":1,"enforced":%t,"eject_consecutive_event":{}}`+"\n",
		kind, at, address, action, enforced)
}

// page is what is exported, without times and comments.
func (b *bench) page() string {
	b.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			b.Fatal(err)
		}
	}
	var out strings.Builder
	for l := range strings.Lines(text.String()) {
		if !strings.HasPrefix(l, "#") && !strings.Contains(l, "_timestamp_") {
			out.WriteString(l)
		}
	}
	return out.String()
}

func (b *bench) want(parts ...string) {
	b.Helper()
	page := b.page()
	for _, p := range parts {
		if absent, not := strings.CutPrefix(p, "!"); strings.Contains(page, absent) == not {
			b.Errorf("want %s in\n%s", p, page)
		}
	}
}

// An event says why; the answer of Envoy who is out.
func TestWhoIsOutAndWhy(t *testing.T) {
	b := newBench(t)
	b.read()
	b.append(line("CONSECUTIVE_GATEWAY_FAILURE", "EJECT", "10.0.0.1:80", true) + line("CONSECUTIVE_5XX", "EJECT", "10.0.0.2:80", false) +
		line("DEGRADED", "EJECT", "10.0.0.3:80", true) + line("CONSECUTIVE_5XX", "EJECT", "[::1]:80", true))
	b.read()
	b.want("!weft_upstream_ejected{") // nobody has said that they are of this Envoy
	b.out = []envoy.OutHost{{Cluster: "outbound|80|v1|a.n.svc", Address: "10.0.0.1:80"}, {Cluster: "outbound|80|v1|a.n.svc", Address: "[::1]:80"}, {Cluster: "Passthrough", Address: "10.0.0.9:80"}}
	b.ask(t.Context(), time.Now())
	b.want(`weft_upstream_ejected{address="10.0.0.1:80",destination_pod="",destination_port="80",destination_service="a.n.svc",destination_subset="v1",reason="consecutive_gateway_failure"} 1`,
		`address="[::1]:80",destination_pod="",destination_port="80",destination_service="a.n.svc",destination_subset="v1",reason="consecutive_5xx"} 1`,
		`address="10.0.0.9:80",destination_pod="",destination_port="",destination_service="Passthrough",destination_subset="",reason="unknown"} 1`,
		`weft_upstream_ejections_total{destination_port="80",destination_service="a.n.svc",destination_subset="v1",reason="consecutive_gateway_failure"} 1`,
		"!10.0.0.2", "!10.0.0.3")
	b.append(line("CONSECUTIVE_5XX", "UNEJECT", "10.0.0.1:80", false))
	b.read()
	b.want("!10.0.0.1", "[::1]", `reason="consecutive_gateway_failure"} 1`)
	b.out = nil // the cluster is gone: no event says so
	b.ask(t.Context(), time.Now())
	b.want("!weft_upstream_ejected{")
}

// What stood in the file before is of an Envoy that may have ended, and counted.
func TestAgentThatIsStartedAgain(t *testing.T) {
	b := newBench(t)
	b.append(line("CONSECUTIVE_5XX", "EJECT", "10.0.0.1:80", true))
	b.registry = prometheus.NewRegistry()
	b.Watcher = b.watcher(b.registry)
	b.read()
	b.err = fmt.Errorf("not up yet")
	b.ask(t.Context(), time.Now())
	b.want("!weft_upstream")
	b.err, b.out = nil, []envoy.OutHost{{Cluster: "outbound|80|v1|a.n.svc", Address: "10.0.0.1:80"}}
	b.ask(t.Context(), time.Now())
	b.want(`reason="consecutive_5xx"} 1`, "!ejections_total")
	b.append(line("CONSECUTIVE_5XX", "EJECT", "10.0.0.1:80", true))
	b.read()
	b.want(`ejections_total{destination_port="80",destination_service="a.n.svc",destination_subset="v1",reason="consecutive_5xx"} 1`)
}

// A file that was emptied since holds nothing that an agent before has seen.
func TestLogThatIsEmptiedBeforeItIsRead(t *testing.T) {
	b := newBench(t)
	before := line("CONSECUTIVE_5XX", "EJECT", "10.0.0.1:80", true)
	b.append(before + before)
	b.registry = prometheus.NewRegistry()
	b.Watcher = b.watcher(b.registry)
	if err := os.Truncate(b.path, 0); err != nil {
		t.Fatal(err)
	}
	b.append(before)
	b.read()
	b.want(`ejections_total{destination_port="80",destination_service="a.n.svc",destination_subset="v1",reason="consecutive_5xx"} 1`)
}

// How long ago a host came back is measured by a clock that is never set.
func TestBackIsForgottenWhateverTheClockSays(t *testing.T) {
	b := newBench(t)
	b.out = []envoy.OutHost{{Cluster: "a", Address: "10.0.0.1:80"}}
	b.ask(t.Context(), time.Now())
	b.out = nil
	b.ask(t.Context(), time.Now())
	at := b.gone[host{"a", "10.0.0.1:80"}].at
	if at.IsZero() || at == at.Round(0) {
		t.Errorf("it came back at %v, which has no monotonic reading", at)
	}
}

// Lines of any length and content cost neither an event nor memory; the file stays small.
func TestLogStaysSmall(t *testing.T) {
	b := newBench(t)
	whole := line("CONSECUTIVE_5XX", "EJECT", "10.0.0.1:80", true)
	b.append("{\x00\n" + strings.Repeat("x", 3*maxLine) + "\n" + line(strings.Repeat("R", maxName+1), "EJECT", "10.0.0.7:80", true) +
		line("CONSECUTIVE_5XX", "EJECT", "", true) + whole[:40])
	b.read()
	b.ask(t.Context(), time.Now())
	if b.unsure || len(b.total) != 0 {
		t.Errorf("unsure %t, counted %v", b.unsure, b.total)
	}
	b.append(whole[40:])
	b.read()
	b.want(`ejections_total{destination_port="80",destination_service="a.n.svc",destination_subset="v1",reason="consecutive_5xx"} 1`)
	b.append(strings.Repeat(whole, maxFile/len(whole)+1))
	b.read()
	info, err := os.Stat(b.path)
	if err != nil || info.Size() != 0 || !b.unsure {
		t.Errorf("size %d, unsure %t, %v", info.Size(), b.unsure, err)
	}
	b.append(line("CONSECUTIVE_5XX", "EJECT", "10.0.0.5:80", true))
	b.read()
	if _, known := b.Watcher.out[host{"outbound|80|v1|a.n.svc", "10.0.0.5:80"}]; !known {
		t.Error("what follows the emptying is not read")
	}
}

// More hosts than have series are counted in one.
func TestSeriesAreBounded(t *testing.T) {
	b := newBench(t)
	for i := range maxHosts + 10 {
		b.out = append(b.out, envoy.OutHost{Cluster: fmt.Sprintf("outbound|80||s%d", i), Address: "10.0.0.1:80"})
	}
	for i := range 2 * maxKinds {
		b.take(event{Type: "CONSECUTIVE_5XX", Cluster: fmt.Sprint(i), Address: "a", Action: "EJECT", Enforced: true})
	}
	b.ask(t.Context(), time.Now())
	b.want(fmt.Sprintf(`address="other",destination_pod="",destination_port="",destination_service="other",destination_subset="",reason="other"} %d`, maxHosts-maxSeries),
		fmt.Sprintf(`weft_upstream_ejections_total{destination_port="",destination_service="other",destination_subset="",reason="other"} %d`, maxKinds))
	if n := strings.Count(b.page(), "\n"); n != maxSeries+1+maxKinds+1 {
		t.Errorf("%d series", n)
	}
}
