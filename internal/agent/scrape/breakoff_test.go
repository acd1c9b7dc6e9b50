package scrape

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/agent/counts"
)

// A page that breaks off within a metric has no sum of half of it.
func TestBudgetWhenEnvoyBreaksOff(t *testing.T) {
	envoy, breaks := &paths{calls: map[[2]string]int{}}, false
	r := newReader(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !breaks {
			envoy.ServeHTTP(w, request)
			return
		}
		all := httptest.NewRecorder()
		envoy.ServeHTTP(all, request)
		text := all.Body.String()
		_, _ = io.WriteString(w, text[:strings.Index(text, `path="/70"`)]+"part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}), 60)
	for i := range 100 {
		envoy.call("reviews", fmt.Sprintf("/%d", i), 10)
	}
	r.scrape()
	r.scrape()
	breaks = true
	w := httptest.NewRecorder()
	r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if body := w.Body.String(); !strings.Contains(body, "istio_requests_total{") || strings.Contains(body, `"other"`) {
		t.Errorf("a sum of half a metric:\n%s", body)
	}
	breaks = false
	if got := r.scrape(); sum(got, "istio_requests_total{") != 1000 {
		t.Errorf("%v requests", sum(got, "istio_requests_total{"))
	}
}

// A line that is too long, as a caller may cause, costs itself alone: with it too a
// page has its budget, what comes after, and what the agent alone counts.
func TestBudgetWithALongLine(t *testing.T) {
	envoy := &paths{calls: map[[2]string]int{}}
	r := newReader(t, envoy, 60)
	r.page.counted = func() counts.Counted {
		return counts.Counted{"istio_request_messages_total": {`path="/m"`: 7}}
	}
	for i := range 100 {
		envoy.call("reviews", fmt.Sprintf("/%d", i), 1)
	}
	envoy.call("reviews", strings.Repeat(`"`, 35_000), 1)
	for range 3 {
		r.scrape() // which fails without what comes after
	}
	if got := r.scrape(); len(got) > 60 || sum(got, "istio_requests_total{") != 100 || sum(got, "istio_request_messages_total{") != 7 {
		t.Errorf("%d samples, %v requests, %v messages", len(got), sum(got, "istio_requests_total{"), sum(got, "istio_request_messages_total{"))
	}
}

// Of a page that is too big there is a plan too.
func TestBudgetOfABigPage(t *testing.T) {
	label := strings.Repeat("x", maxLine-1000)
	r := newReader(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range maxBytes/len(label) + 10 {
			_, _ = fmt.Fprintf(w, "envoy_istio_requests_total{path=\"%d%s\"} 1\n", i, label)
		}
	}), 60)
	for range 2 {
		w := httptest.NewRecorder()
		r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if n := strings.Count(w.Body.String(), "istio_requests_total{"); r.page.series.plan == nil || n > 60*(100+keptShare)/100 {
			t.Errorf("%d samples, and no plan of them: %v", n, r.page.series.plan == nil)
		}
	}
}

// Series that the agent alone has counted are the same once Envoy has them too,
// whose labels are in another order.
func TestBudgetOfTheAgentsSeries(t *testing.T) {
	const metric = "istio_request_messages_total"
	envoys := 100
	r := newReader(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "# TYPE envoy_%s counter\n", metric)
		for i := range envoys {
			_, _ = fmt.Fprintf(w, "envoy_%s{reporter=\"source\",path=\"/%d\"} %d\n", metric, i, 1)
		}
		_, _ = io.WriteString(w, "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n")
	}), 60)
	r.page.counted = func() counts.Counted {
		all := map[string]uint64{}
		for i := range 200 {
			all[fmt.Sprintf(`path="/%d",reporter="source"`, i)] = uint64(10 + i%150) // the biggest are those that come to Envoy late
		}
		return counts.Counted{metric: all}
	}
	for range 3 {
		r.scrape()
	}
	before := sum(r.had, metric+"{")
	envoys = 150
	got := r.scrape() // which fails for a series that is there twice, or has fallen
	if after := sum(got, metric+"{"); after != before+50 || len(got) > 60 {
		t.Errorf("%v became %v in %d samples", before, after, len(got))
	}
	if again := r.scrape(); len(again) != len(got) {
		t.Errorf("%d samples became %d", len(got), len(again))
	}
}

// A metric that comes after the budget is reached has a sum of its own, and nothing
// of it is lost; so with histograms.
func TestBudgetOfALaterMetric(t *testing.T) {
	envoy, late := &paths{calls: map[[2]string]int{}}, &paths{calls: map[[2]string]int{}}
	r := newReader(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		all := httptest.NewRecorder()
		late.ServeHTTP(all, request)
		_, _ = io.WriteString(w, strings.ReplaceAll(strings.ReplaceAll(all.Body.String(), "istio_request", "istio_request_late"), "envoy_server_live", "envoy_late"))
		envoy.ServeHTTP(w, request)
	}), 60)
	for i := range 100 {
		envoy.call("reviews", fmt.Sprintf("/%d", i), 1)
	}
	r.scrape()
	for i := range 40 {
		late.call(fmt.Sprintf("s%d", i%5), fmt.Sprintf("/%d", i), 10)
	}
	for range 2 {
		got := r.scrape()
		if n := sum(got, "istio_request_lates_total{"); n != 400 {
			t.Errorf("%v of 400 in %v", n, got)
		}
		for _, part := range []string{"count{", "sum{", `bucket{destination="other",le="1"`} {
			if n := sum(got, "istio_request_late_bytes_"+part); n != 400 {
				t.Errorf("%s: %v of 400", part, n)
			}
		}
		if len(got) > 60 {
			t.Errorf("%d samples", len(got))
		}
	}
}
