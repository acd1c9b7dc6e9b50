package scrape

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/prometheus"
)

// The page by a reader's wish: with OpenMetrics it ends as that must, and series have
// the same names in both.
func TestFormats(t *testing.T) {
	for accept, want := range map[string]format{
		"": plain, "*/*": plain, "text/plain;version=0.0.4": plain,
		"application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5": openMetrics,
		"application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5":        openMetrics,
		"application/openmetrics-text;version=1.0.0;q=0.1,text/plain;version=0.0.4": plain,
	} {
		page := bothParts(t)
		w, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header.Set("Accept", accept)
		page.ServeHTTP(w, request)
		body, kind := w.Body.String(), w.Header().Get("Content-Type")
		if got := format(strings.HasSuffix(body, "# EOF\n")); got != want || strings.HasPrefix(kind, "application/openmetrics-text") != bool(want) {
			t.Errorf("%q: %s\n%s", accept, kind, body)
		}
		for _, line := range []string{`istio_requests_total{source_app="unknown"} 1`, "envoy_change 2", "mine_total 3", "istio_agent_scrapes_total 1"} {
			if !strings.Contains(body, "\n"+line+"\n") && !strings.Contains(body, "\n"+line+" # ") {
				t.Errorf("%q: no %s in\n%s", accept, line, body)
			}
		}
		for line, in := range map[string]format{
			"# TYPE istio_requests counter": openMetrics, "# TYPE istio_requests_total counter": plain, "# TYPE envoy_change unknown": openMetrics, "# TYPE envoy_rq_total unknown": openMetrics, "# TYPE envoy_rq_total counter": plain,
			"# TYPE mine counter": openMetrics, "# TYPE mine_total counter": plain, `mine_total 3 # {trace_id="x"} 0.5`: openMetrics,
		} {
			if strings.Contains(body, line+"\n") != (in == want) {
				t.Errorf("%q: %s in\n%s", accept, line, body)
			}
		}
	}
}

// bothParts is a page of a hostile Envoy and a hostile app, who writes OpenMetrics to
// those who ask for it and to others too.
func bothParts(t *testing.T) *Page {
	t.Helper()
	label := `"` + strings.Repeat("ä", 5_000) + `\\ \" \n 日本 \u202e },le=` + `"`
	r := newReader(t, http.NotFoundHandler(), 0)
	r.page.envoy = part(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE envoy_change counter\nenvoy_change 2\n# TYPE envoy_rq_total counter\nenvoy_rq_total 1\n# TYPE envoy_rq counter\nenvoy_rq 1\n# TYPE envoy_istio_requests_total counter\nenvoy_istio_requests_total{source_app=\"\"} 1\nenvoy_istio_requests_total{source_app="+
			strings.ReplaceAll(label, `\u`, "u")+"} 5\nenvoy_istio_requests_total{source_app=\"\xff\"} 6\n")
	})
	r.page.app = part(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
		_, _ = io.WriteString(w, "# TYPE mine counter\nmine_total 3 # {trace_id=\"x\"} 0.5\nmine 4 5 6 7\nx{__name__=\"istio_requests_total\"} 9\nx{a=\"1\",a=\"2\"} 9\n# TYPE late gauge\nlate 8\n# EOF\nafter 1\n")
	})
	return r.page
}

// A real Prometheus, which asks for OpenMetrics, takes the page whole.
func TestPrometheusReadsThePage(t *testing.T) {
	page := bothParts(t)
	formats := make(chan string, 1000)
	pod := part(t, func(w http.ResponseWriter, r *http.Request) {
		page.ServeHTTP(w, r)
		select {
		case formats <- w.Header().Get("Content-Type"):
		default:
		}
	})
	address := prometheus.Start(t, pod)
	for query, want := range map[string]string{
		"up": "1", `count(istio_requests_total)`: "3", `sum(istio_requests_total)`: "12", "mine_total": "3", "late": "8", "envoy_change": "2",
		"after": "1",
	} {
		got := ""
		for end := time.Now().Add(time.Minute); got != want && time.Now().Before(end); {
			got = ask(t, "http://"+address, query)
		}
		if got != want {
			t.Errorf("%s is %q, want %s", query, got, want)
		}
	}
	if n := ask(t, "http://"+address, "count(x) or vector(0)"); n != "0" {
		t.Errorf("what no reader takes is there %s times", n)
	}
	if kind := <-formats; !strings.HasPrefix(kind, "application/openmetrics-text") {
		t.Errorf("it was given %s", kind)
	}
}

// ask is the first value that Prometheus has; it waits a little where there is none.
func ask(t *testing.T, prometheus, query string) string {
	t.Helper()
	var answer struct {
		Data struct {
			Result []struct{ Value []any }
		}
	}
	response, err := http.Get(prometheus + "/api/v1/query?query=" + url.QueryEscape(query))
	if err == nil {
		err = json.NewDecoder(response.Body).Decode(&answer)
		response.Body.Close()
	}
	if err != nil || len(answer.Data.Result) == 0 || len(answer.Data.Result[0].Value) < 2 {
		select { // it has not scraped yet, or not begun
		case <-t.Context().Done():
		case <-time.After(100 * time.Millisecond):
		}
		return ""
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1])
}
