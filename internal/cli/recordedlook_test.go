package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/test/prometheus"
)

// recording is a recorder that says this.
type recording struct {
	text string
	err  error
}

func (s recording) get(context.Context, string) ([]byte, string, error) {
	return []byte(s.text), "monitoring/p", s.err
}

// Who tells the figures: a recorder of a minute and more, where it can; one that was
// named, or nobody.
func TestWhoTellsFigures(t *testing.T) {
	pod := controller.PodStatus{Namespace: "n", Name: "a", Synced: "yes", Sidecar: true}
	r := mesh(map[string]string{"a": "x 1\n"}, pod)
	knows := recording{text: `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"weft_figure":"8","namespace":"n","pod":"a"},"value":[1,"1"]}]}}`}
	knowsNone := recording{text: strings.Replace(knows.text, `"pod":"a"`, `"pod":"b"`, 1)}
	for name, c := range map[string]struct {
		by     recorder
		failed error
		named  string
		window time.Duration
		given  bool
		want   string // from, the window, what is said; "!": the error
	}{
		"the default is a minute": {by: knows, window: 5 * time.Second, want: "Prometheus (monitoring/p) 1m0s "},
		"longer":                  {by: knows, window: time.Hour, given: true, want: "Prometheus (monitoring/p) 1h0m0s "},
		"shorter":                 {by: knows, window: 30 * time.Second, given: true, want: " 30s "},
		"since the start":         {by: knows, want: " 0s "},
		"none":                    {window: 5 * time.Second, want: " 5s "},
		"none in the cluster":     {by: recording{err: errNoRecorder}, window: 5 * time.Second, want: " 5s "},
		"away":                    {by: recording{err: errors.New("away\x1b")}, window: 5 * time.Second, want: ` 5s Prometheus (monitoring/p): away\u001b; the proxies are asked`},
		"not to be looked for":    {failed: errors.New("forbidden"), window: 5 * time.Second, want: " 5s forbidden; the proxies are asked"},
		"it scrapes others":       {by: knowsNone, window: 5 * time.Second, want: " 5s Prometheus (monitoring/p) scrapes none of the mesh's proxies: docs/guides/observe.md says how; the proxies are asked"},
		"its answer is none":      {by: recording{text: "<html>"}, window: 5 * time.Second, want: " 5s Prometheus (monitoring/p): its answer is not one of Prometheus' API; the proxies are asked"},
		"named, and away":         {by: recording{err: errors.New("away")}, named: "http://x", want: "!Prometheus (monitoring/p): away", window: time.Minute},
	} {
		var out bytes.Buffer
		w := choice{window: c.window, recorder: c.named, given: func() bool { return c.given }}
		from, first, err := (&app{err: &out}).sourceOf(t.Context(), &w, r, func() (recorder, error) { return c.by, c.failed })
		got := first.from + " " + w.window.String() + " " + strings.TrimSpace(out.String())
		if err != nil {
			got = "!" + err.Error()
		} else if again, err := from(t.Context()); err != nil || again.from != first.from || len(again.pods) != 1 {
			t.Errorf("%s: the next look: %+v, %v", name, again, err)
		}
		if got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
}

// A real Prometheus takes the question, and its answer makes the rows that the
// proxies' own would.
func TestRealPrometheusTellsFigures(t *testing.T) {
	by, err := recorderAt("http://" + prometheus.Start(t, countedMore(t)))
	if err != nil {
		t.Fatal(err)
	}
	r := mesh(nil,
		controller.PodStatus{Namespace: "n", Name: "a-1", Workload: "a", Synced: "yes", Sidecar: true},
		controller.PodStatus{Namespace: "n", Name: "unseen", Synced: "yes", Sidecar: true},
		controller.PodStatus{Namespace: "n", Name: "plain"})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		l, err := r.recordedLook(ctx, by, time.Minute)
		wrong := strangeRows(l, err)
		if wrong == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(wrong)
		case <-tick.C:
		}
	}
}

// strangeRows says what is wrong with the only row that has figures: see countedMore.
func strangeRows(l look, err error) string {
	if err != nil {
		return err.Error()
	}
	rows := figures.Rows(figures.Workloads, l.pods, l.since())
	if len(rows) != 2 || rows[0].Name != "a" || rows[0].Latency == nil || rows[0].SuccessRate == nil || rows[0].RequestRate == nil {
		return fmt.Sprintf("rows %+v", rows)
	}
	row := rows[0]
	near := func(a, b float64) bool { return math.Abs(a-b) <= 0.01*b }
	if !near(*row.SuccessRate, 0.75) || !near(row.Latency.P50, 5) || !near(row.Received, 40*row.Requests) || !near(row.Sent, 20*row.Requests) ||
		!near(row.Connections, row.Requests) || !near(*row.RequestRate*60, row.Requests) || *row.Ejected != 1 {
		return fmt.Sprintf("%+v", row)
	}
	if fmt.Sprint(l.missing) != "[n/unseen: Prometheus does not scrape it]" {
		return fmt.Sprint(l.missing)
	}
	return ""
}
