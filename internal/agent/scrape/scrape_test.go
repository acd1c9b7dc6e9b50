package scrape

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func TestRename(t *testing.T) {
	for in, want := range map[string]string{
		`envoy_istio_requests_total{reporter="source",response_flags=""} 3`:   `istio_requests_total{reporter="source",response_flags="-"} 3`,
		`envoy_istio_requests_total{source_app="",grpc_response_status=""} 3`: `istio_requests_total{source_app="unknown",grpc_response_status=""} 3`,
		`envoy_istio_requests_total{source_app="",a="=\"\"",b="x="} 3`:        `istio_requests_total{source_app="unknown",a="=\"\"",b="x="} 3`,
		`# TYPE envoy_istio_requests_total counter`:                           "# HELP istio_requests_total HTTP and gRPC requests, when they end.\n# TYPE istio_requests_total counter",
		`# TYPE envoy_istio_other counter`:                                    `# TYPE istio_other counter`,
		`# HELP envoy_istio_requests_total of Envoy's own`:                    ``,
		`# HELP envoy_istio_other envoy_istio_ in the text`:                   `# HELP istio_other envoy_istio_ in the text`,
		`envoy_cluster_upstream_cx_active{envoy_cluster_name=""} 0`:           `envoy_cluster_upstream_cx_active{envoy_cluster_name=""} 0`,
		`envoy_weft_plaintext_calls_total{wire=""} 1`:                         `weft_plaintext_calls_total{wire=""} 1`,
		`# TYPE envoy_weft_other gauge`:                                       `# TYPE weft_other gauge`,
		`# TYPE envoy_server_live gauge`:                                      `# TYPE envoy_server_live gauge`,
		`envoy_istio_request_bytes_bucket{destination_app="",le="+Inf"} 1`:    `istio_request_bytes_bucket{destination_app="unknown",le="+Inf"} 1`,
		``: ``,
	} {
		if got := string(rename(nil, []byte(in))); got != want {
			t.Errorf("%s\nis %s\nnot %s", in, got, want)
		}
	}
}

// A limit that was never met is not told of; one that was is, as what else is 0.
func TestUnmetLimits(t *testing.T) {
	page := "envoy_cluster_upstream_rq_active_overflow{cluster_name=\"a\"} 0\nenvoy_cluster_upstream_rq_active_overflow{cluster_name=\"b\"} 10\n" +
		"envoy_cluster_upstream_cx_active{cluster_name=\"_overflow\"} 0\nenvoy_server_stats_overflow{} 0\n"
	var out strings.Builder
	if err := copyLines(strings.NewReader(page), renaming(&out)); err != nil {
		t.Fatal(err)
	}
	if want := page[strings.Index(page, "\n")+1:]; out.String() != want {
		t.Errorf("%s, want\n%s", out.String(), want)
	}
}

func TestAppURL(t *testing.T) {
	for in, want := range map[string]string{
		``: ``,
		`{"scrape":"true","path":"/m","port":"9090"}`: "http://localhost:9090/m",
		`{"scrape":"true"}`:                           "http://localhost:80/metrics",
		`{"scrape":"true","path":"m","port":"81"}`:    "http://localhost:81/m",
		`{"scrape":"false","port":"9090"}`:            "",
		`{"scrape":"true","port":"15020"}`:            "error",
		`{"scrape":"true","port":"http"}`:             "error",
		`{"scrape":"true","port":"0"}`:                "error",
		`{"scrape":"true","port":"99999"}`:            "error",
		`not JSON`:                                    "error",
	} {
		got, err := AppURL(in, 15020, 15090)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s is %q, want %q (%v)", in, got, want, err)
		}
	}
}

// part is a server of one part of the page.
func part(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func scrape(t *testing.T, o Options) (int, string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	o.Ours = prometheus.WrapRegistererWithPrefix("weft_agent_", registry)
	o.Own, o.Metrics, o.Log = registry, prometheus.WrapRegistererWithPrefix("istio_agent_", registry), slog.New(slog.DiscardHandler)
	page := httptest.NewServer(New(o))
	defer page.Close()
	if _, err := http.Get(page.URL); err != nil { // so that counters have counted
		t.Fatal(err)
	}
	response, err := http.Get(page.URL + "?usedonly")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(bytes.NewReader(body)); err != nil {
		t.Errorf("the page cannot be read: %v\n%s", err, body)
	}
	return response.StatusCode, string(body)
}

func TestPage(t *testing.T) {
	envoy := part(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "# TYPE envoy_istio_requests_total counter\nenvoy_istio_requests_total{source_app=\"\"} 1\n")
		if r.URL.RawQuery != "" {
			_, _ = io.WriteString(w, "# TYPE envoy_query gauge\nenvoy_query{} 1\n")
		}
	})
	app := part(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Accept"), "text/plain") {
			w.WriteHeader(http.StatusNotAcceptable)
		}
		_, _ = io.WriteString(w, "app_total 7\n# EOF") // no newline at the end
	})
	code, body := scrape(t, Options{Envoy: envoy, App: app})
	for _, want := range []string{"istio_requests_total{source_app=\"unknown\"} 1\n", "envoy_query{} 1\n", "app_total 7\n", "istio_agent_scrapes_total 2\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if code != http.StatusOK || strings.Contains(body, "EOF") || strings.Contains(body, "failures") {
		t.Errorf("%d\n%s", code, body)
	}
}

// TestPartsThatFail are left out and counted, and the others are there.
func TestPartsThatFail(t *testing.T) {
	good := part(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "good 1\n") })
	for name, app := range map[string]string{
		"not there":   "http://127.0.0.1:1/metrics",
		"an error":    part(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }),
		"a long line": part(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", maxLine+1)) }),
		"cut off": part(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "whole 1\npart")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			code, body := scrape(t, Options{Envoy: good, App: app})
			if code != http.StatusOK || !strings.Contains(body, "good 1\n") || strings.Contains(body, "part\n") ||
				!strings.Contains(body, `istio_agent_scrape_failures_total{type="application"} 1`) {
				t.Errorf("%d\n%s", code, body)
			}
		})
	}
}

// An app cannot write the mesh's figures, in whatever form a reader would take.
func TestAppsCannotForge(t *testing.T) {
	envoy := part(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE envoy_istio_requests_total counter\nenvoy_istio_requests_total{source_app=\"a\"} 1\n")
	})
	forged := []string{
		"# TYPE istio_requests_total gauge", "#TYPE istio_requests_total gauge", "# HELP istio_requests_total of mine", "#  TYPE\tistio_tcp_sent_bytes_total counter", `# HELP "istio_requests_total" x`,
		`istio_requests_total{source_app="a"} 9`, "istio_requests_total 9", " \tistio_requests_total 9", `{"istio_requests_total",source_app="a"} 9`, `{ source_app="a", "istio_requests_total" } 9`,
		`"istio_requests_total" 9`, "istio_agent_scrapes_total 99", "weft_plaintext_calls_total 9", "istio_request_bytes_bucket{le=\"+Inf\"} 9",
	}
	kept := "# HELP mine of istio_requests_total\n# istio_ is a mesh\nmine{mesh=\"istio_\"} 1\nmy_istio_requests_total 2\nistio 3\n{\"my.own\",a=\"b\"} 4\n"
	app := part(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Join(forged, "\n")+"\n"+kept)
	})
	_, body := scrape(t, Options{Envoy: envoy, App: app})
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if m := families["istio_requests_total"].GetMetric(); err != nil || len(m) != 1 || m[0].GetCounter().GetValue() != 1 {
		t.Errorf("the proxy's word: %v, %v", m, err)
	}
	// Two scrapes, of which the second page has what the first counted.
	if want := fmt.Sprintf("weft_agent_app_metric_lines_dropped_total{reason=\"reserved\"} %d\n", len(forged)); !strings.Contains(body, want) {
		t.Errorf("not counted: %s", want)
	}
	if !strings.HasSuffix(body, kept) || strings.Contains(body, "tcp_sent") || len(families["weft_plaintext_calls_total"].GetMetric())+len(families["istio_request_bytes"].GetMetric()) > 0 {
		t.Errorf("the page:\n%s", body)
	}
}

// FuzzForged: nothing of an app's page is read as the mesh's.
func FuzzForged(f *testing.F) {
	f.Add([]byte("istio_a 1\n# TYPE istio_a counter\n{\"istio_a\"} 1\n\tistio_a{b=\"c\"} 1\nx 1\n"))
	f.Add([]byte("# TYPE \"istio_b\" counter\n{a=\"b\", \"weft_x\"} 1\n"))
	f.Fuzz(func(t *testing.T, page []byte) {
		var out bytes.Buffer
		_ = copyLines(bytes.NewReader(page), newAppPage(&formatter{w: &out}).line) // what came before an error is on the page
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, _ := parser.TextToMetricFamilies(&out)
		for name := range families {
			if strings.HasPrefix(name, "istio_") || strings.HasPrefix(name, "weft_") {
				t.Fatalf("%s is read of %q", name, page)
			}
		}
	})
}

func TestTooMuch(t *testing.T) {
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	endless := io.MultiReader(io.LimitReader(repeating{line}, maxBytes), strings.NewReader("more\n"))
	n := 0
	err := copyLines(endless, func(l []byte) error { n += len(l); return nil })
	if err == nil || n > maxBytes {
		t.Errorf("%d bytes passed, error %v", n, err)
	}
}

// repeating reads line again and again.
type repeating struct{ line []byte }

func (r repeating) Read(p []byte) (int, error) {
	n := 0
	for n+len(r.line) <= len(p) {
		n += copy(p[n:], r.line)
	}
	return n, nil
}

// FuzzLines: lines go out as whole as they came in, only names and empty
// labels differ, and what could be read before can be read after.
func FuzzLines(f *testing.F) {
	f.Add([]byte("# TYPE envoy_istio_a counter\nenvoy_istio_a{b=\"\",c=\"=\\\"\\\"\"} 1\n# EOF\n"))
	f.Add([]byte("a 1\n\n\nb{c=\"d\"} 2 3"))
	f.Fuzz(func(t *testing.T, page []byte) {
		var out bytes.Buffer
		if err := copyLines(bytes.NewReader(page), renaming(&out)); err != nil {
			return
		}
		lines := func(text []byte) int { return bytes.Count(text, []byte("\n")) - bytes.Count(text, []byte("# HELP ")) }
		if got, want := lines(out.Bytes()), lines(page); got != want && got != want+1 {
			t.Fatalf("%d lines became %d", want, got)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if _, err := parser.TextToMetricFamilies(bytes.NewReader(page)); err != nil || bytes.Contains(page, []byte("istio_")) && bytes.Count(page, []byte("istio_")) > 1 {
			return // unreadable, or names that may now be there twice
		}
		if _, err := parser.TextToMetricFamilies(bytes.NewReader(out.Bytes())); err != nil && bytes.HasSuffix(page, []byte("\n")) {
			t.Fatalf("readable before, not after: %v\n%q\n%q", err, page, out.Bytes())
		}
	})
}
