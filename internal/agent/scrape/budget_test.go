package scrape

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// paths is an Envoy that counts requests by destination and path.
type paths struct{ calls map[[2]string]int }

func (e *paths) call(destination, path string, n int) { e.calls[[2]string{destination, path}] += n }

// ServeHTTP writes the page in Envoy's form: a counter and a histogram.
func (e *paths) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	keys := slices.SortedFunc(maps.Keys(e.calls), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
	fmt.Fprint(w, "# TYPE envoy_istio_requests_total counter\n")
	for _, k := range keys {
		fmt.Fprintf(w, "envoy_istio_requests_total{destination=%q,path=%q} %d\n", k[0], k[1], e.calls[k])
	}
	fmt.Fprint(w, "# TYPE envoy_istio_request_bytes histogram\n")
	for _, k := range keys {
		labels, n := fmt.Sprintf("destination=%q,path=%q", k[0], k[1]), e.calls[k]
		for _, le := range []string{"1", "5", "+Inf"} {
			fmt.Fprintf(w, "envoy_istio_request_bytes_bucket{%s,le=%q} %d\n", labels, le, n)
		}
		fmt.Fprintf(w, "envoy_istio_request_bytes_sum{%[1]s} %[2]d\nenvoy_istio_request_bytes_count{%[1]s} %[2]d\n", labels, n)
	}
	fmt.Fprint(w, "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n")
}

// reader scrapes one page again and again.
type reader struct {
	t    *testing.T
	page *Page
	had  map[string]float64 // all values of the last scrape
}

func newReader(t *testing.T, envoy http.Handler, budget int) *reader {
	server := httptest.NewServer(envoy)
	t.Cleanup(server.Close)
	registry := prometheus.NewRegistry()
	return &reader{t: t, page: New(Options{
		Own: registry, Metrics: prometheus.WrapRegistererWithPrefix("istio_agent_", registry), Ours: prometheus.WrapRegistererWithPrefix("weft_agent_", registry),
		Envoy: server.URL, Samples: budget, Log: slog.New(slog.DiscardHandler),
	})}
}

// scrape gives the samples of the mesh, by name and labels. No counter is there
// twice, and none has fallen.
func (r *reader) scrape() map[string]float64 {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	out := map[string]float64{}
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "istio_request") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		var v float64
		if _, err := fmt.Sscan(line[at:], &v); err != nil {
			r.t.Fatal(err)
		}
		metric, labels, _ := strings.Cut(line[:at], "{")
		labels, _ = labelsOf(strings.TrimSuffix(labels, "}"))
		name := metric + "{" + labels + "}"
		if _, twice := out[name]; twice {
			r.t.Errorf("twice: %s", line)
		}
		out[name] = v
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(bytes.NewReader(w.Body.Bytes())); err != nil {
		r.t.Errorf("the page cannot be read: %v", err)
	}
	if !strings.Contains(w.Body.String(), "envoy_server_live{} 1\n") {
		r.t.Error("what comes after the mesh's metrics lacks")
	}
	for name, before := range r.had {
		if now, there := out[name]; there && now < before {
			r.t.Errorf("%s fell from %v to %v", name, before, now)
		}
	}
	r.had = out
	return out
}

func sum(samples map[string]float64, start string, within ...string) (all float64) {
	for name, v := range samples {
		if strings.HasPrefix(name, start) && !slices.ContainsFunc(within, func(part string) bool { return !strings.Contains(name, part) }) {
			all += v
		}
	}
	return all
}

// Over the budget the biggest series stay and the others are one; nothing is lost of
// the sums, nothing falls, and with a new Envoy all are shown again.
func TestBudget(t *testing.T) {
	envoy := &paths{calls: map[[2]string]int{}}
	r := newReader(t, envoy, 300)
	for i := range 30 {
		envoy.call("reviews", fmt.Sprintf("/%d", i), 1)
	}
	if got := r.scrape(); len(got) != 30*6 {
		t.Fatalf("within the budget there are %d samples", len(got))
	}
	envoy.call("ratings", "/big", 1000)
	for i := range 2000 {
		envoy.call("reviews", fmt.Sprintf("/%d", i), 1)
	}
	if n := len(r.scrape()); n > 300*(100+keptShare)/100 {
		t.Errorf("%d samples on the page that reached the budget", n)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		for range 100 {
			envoy.call([]string{"reviews", "details"}[random.IntN(2)], fmt.Sprintf("/%d", random.IntN(5000)), random.IntN(50))
		}
		got := r.scrape()
		total := 0
		for _, n := range envoy.calls {
			total += n
		}
		if len(got) > 300 || sum(got, "istio_requests_total{") != float64(total) {
			t.Errorf("%d samples, %v requests of %d", len(got), sum(got, "istio_requests_total{"), total)
		}
		for _, part := range []string{`istio_request_bytes_bucket{`, "istio_request_bytes_sum{", "istio_request_bytes_count{"} {
			if n := sum(got, part); n != float64(total) && part != `istio_request_bytes_bucket{` || n != 3*float64(total) && part == `istio_request_bytes_bucket{` {
				t.Errorf("%s: %v of %d", part, n, total)
			}
		}
		if got[`istio_requests_total{destination="ratings",path="/big"}`] != 1000 || sum(got, "istio_requests_total{", `destination="details"`, `path="other"`) == 0 {
			t.Errorf("the biggest, or which service the rest asked: %v", got)
		}
	}
	envoy.calls, r.had = map[[2]string]int{{"reviews", "/new"}: 3}, nil
	r.scrape()
	envoy.call("reviews", "/newer", 1)
	if got := r.scrape(); got[`istio_requests_total{destination="reviews",path="/newer"}`] != 1 || len(got) != 12 {
		t.Errorf("after a new start: %v", got)
	}
}

// Where `other` itself has too many series, more labels become `other`.
func TestBudgetOfManyLabels(t *testing.T) {
	envoy := &paths{calls: map[[2]string]int{}}
	r := newReader(t, envoy, 300)
	for i := range 3000 {
		envoy.call(fmt.Sprintf("s%d", i%500), fmt.Sprintf("/%d", i), 2)
	}
	for range 5 {
		r.scrape()
	}
	got := r.scrape()
	if n := sum(got, "istio_requests_total{"); n != 6000 || len(got) > 300 {
		t.Errorf("%v requests in %d samples", n, len(got))
	}
}

// A series whose label is truly `other` is not there twice.
func TestBudgetWithATrueOther(t *testing.T) {
	envoy := &paths{calls: map[[2]string]int{}}
	r := newReader(t, envoy, 300)
	envoy.call("reviews", "other", 1_000_000)
	for i := range 1000 {
		envoy.call("reviews", fmt.Sprintf("/%d", i), 1)
	}
	r.scrape()
	if got := r.scrape(); sum(got, "istio_requests_total{") != 1_001_000 {
		t.Errorf("%v", sum(got, "istio_requests_total{"))
	}
}

// A scrape that asks for less does not end the plan.
func TestBudgetOutlivesFilters(t *testing.T) {
	envoy := &paths{calls: map[[2]string]int{}}
	r := newReader(t, envoy, 60)
	for i := range 100 {
		envoy.call("reviews", fmt.Sprintf("/%d", i), 1)
	}
	r.scrape()
	all := r.page.series.plan
	envoy.calls = map[[2]string]int{}
	r.page.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/?filter=x", nil))
	if all == nil || r.page.series.plan != all {
		t.Error("the plan has ended")
	}
}

// BenchmarkBudget is a page of 10,000 series under Istio's labels: within the
// budget, and over it.
func BenchmarkBudget(b *testing.B) {
	var page bytes.Buffer
	labels := `reporter="destination",source_workload="frontend-v1",source_workload_namespace="shop",source_principal="spiffe://cluster.local/ns/shop/sa/frontend",source_app="frontend",source_version="v1",source_canonical_service="frontend",source_canonical_revision="v1",source_cluster="Kubernetes",destination_workload="reviews-v2",destination_workload_namespace="shop",destination_principal="spiffe://cluster.local/ns/shop/sa/reviews",destination_app="reviews",destination_version="v2",destination_canonical_service="reviews",destination_canonical_revision="v2",destination_cluster="Kubernetes",destination_service="reviews.shop.svc.cluster.local",destination_service_name="reviews",destination_service_namespace="shop",response_flags="",connection_security_policy="mutual_tls",request_protocol="http",response_code="200",grpc_response_status=""`
	for i := range 10_000 {
		fmt.Fprintf(&page, "envoy_istio_requests_total{%s,path=\"/%d\"} %d\n", labels, i, i)
	}
	for name, max := range map[string]int{"within": 20_000, "over": 5_000} {
		b.Run(name, func(b *testing.B) {
			limit := &budget{max: max, over: func() {}}
			probe := func() (*plan, error) {
				all := &survey{families: map[string]*surveyed{}}
				err := copyLines(bytes.NewReader(page.Bytes()), all.line)
				return all.plan(max), err
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			once := func() {
				p := limit.pass(renaming(io.Discard), probe)
				if err := copyLines(bytes.NewReader(page.Bytes()), p.line); err != nil {
					b.Fatal(err)
				}
				if err := p.end(true); err != nil {
					b.Fatal(err)
				}
			}
			once()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
			b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "held-B")
		})
	}
}

// BenchmarkAppPage is a page of an app with 10,000 samples.
func BenchmarkAppPage(b *testing.B) {
	var page bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&page, "http_requests_total{method=\"GET\",route=\"/a/{id}\",code=\"200\",instance=\"%d\"} %d\n", i, i)
	}
	for b.Loop() {
		a := newAppPage(&formatter{w: io.Discard})
		if err := copyLines(bytes.NewReader(page.Bytes()), a.line); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}
