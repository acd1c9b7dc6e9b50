// Package scrape serves the pod's metrics on one page: the agent's, Envoy's
// and the app's.
//
// Inputs: a registry, the address of Envoy's Prometheus listener, where the
// app's metrics are. Output: one page in the Prometheus text format, always
// with status 200; a part that cannot be had is left out and counted. Of the
// agent it may import nothing.
package scrape

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Bounds of one part of the page.
const (
	maxTime  = 10 * time.Second
	maxBytes = 64 << 20
)

// DefaultSamples is some hundred callers or services, each with several codes. A line
// has about 700 bytes.
const DefaultSamples = 50_000

// textFormat is asked for because it can be joined; OpenMetrics cannot.
const textFormat = "text/plain;version=0.0.4"

// Page is an http.Handler. Make it with New.
type Page struct {
	own      prometheus.Gatherer
	envoy    string // URL; "" for none
	app      string // URL; "" for none
	client   *http.Client
	log      *slog.Logger
	scrapes  prometheus.Counter
	failures *prometheus.CounterVec
	dropped  prometheus.Counter
	series   *budget
}

// Options say what goes onto the page.
type Options struct {
	Own     prometheus.Gatherer   // the agent's metrics
	Metrics prometheus.Registerer // where the page registers those of its own that Istio's agent has
	Ours    prometheus.Registerer // and the others
	Envoy   string                // URL of Envoy's metrics; "" for none
	App     string                // URL of the app's; "" for none
	Samples int                   // of the mesh's metrics that are shown by themselves; 0: DefaultSamples
	Log     *slog.Logger
}

// New returns the page. Its metrics have the names of Istio's agent where that has them.
func New(o Options) *Page {
	p := &Page{own: o.Own, envoy: o.Envoy, app: o.App, log: o.Log}
	p.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, DisableCompression: true}}
	p.scrapes = prometheus.NewCounter(prometheus.CounterOpts{Name: "scrapes_total", Help: "Scrapes of the merged metrics page."})
	p.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "scrape_failures_total", Help: "Parts left out of the merged metrics page."}, []string{"type"})
	p.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "app_metric_lines_dropped_total", Help: "Lines of the app's metrics that were left out because they have a name of the mesh's own, istio_* or weft_*."})
	folded := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "mesh_samples_folded_total", Help: "Samples of the mesh's metrics that a scrape did not show by themselves, but added up as other."})
	p.series = &budget{max: cmp.Or(o.Samples, DefaultSamples), over: folded.Inc}
	o.Metrics.MustRegister(p.scrapes, p.failures)
	o.Ours.MustRegister(p.dropped, folded)
	return p
}

// AppURL reads ISTIO_PROMETHEUS_ANNOTATIONS, in which the injector keeps the
// pod's own prometheus.io annotations, and returns where the app's metrics
// are; "" if it has none or does not want to be scraped.
func AppURL(annotations string, reserved ...uint16) (string, error) {
	if annotations == "" {
		return "", nil
	}
	var a struct{ Scrape, Path, Port string }
	if err := json.Unmarshal([]byte(annotations), &a); err != nil {
		return "", fmt.Errorf("ISTIO_PROMETHEUS_ANNOTATIONS: %w", err)
	}
	if a.Scrape != "true" {
		return "", nil
	}
	if a.Path == "" {
		a.Path = "/metrics"
	}
	if a.Port == "" {
		a.Port = "80"
	}
	port, err := strconv.ParseUint(a.Port, 10, 16)
	if err != nil || port == 0 {
		return "", fmt.Errorf("ISTIO_PROMETHEUS_ANNOTATIONS: port %q is not 1..65535", a.Port)
	}
	for _, r := range reserved {
		if uint16(port) == r {
			return "", fmt.Errorf("ISTIO_PROMETHEUS_ANNOTATIONS: port %d is the proxy's own: name the app's in prometheus.io/port", port)
		}
	}
	if !strings.HasPrefix(a.Path, "/") {
		a.Path = "/" + a.Path
	}
	return fmt.Sprintf("http://localhost:%d%s", port, a.Path), nil
}

// ServeHTTP writes the page. Parts are passed on line by line, so that a big
// one costs no memory; a part that fails half way ends at a whole line.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience(r))
	defer cancel()
	p.scrapes.Inc()
	w.Header().Set("Content-Type", textFormat+"; charset=utf-8")
	p.count("agent", p.writeOwn(w))
	if p.envoy != "" {
		p.count("envoy", p.writeEnvoy(ctx, w, r))
	}
	if p.app != "" {
		p.count("application", p.relay(ctx, r, p.app, passing(w, p.dropped.Inc)))
	}
}

// patience is a little less than the scraper's own.
func patience(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || seconds <= 0 || seconds > maxTime.Seconds() {
		return maxTime
	}
	return time.Duration(seconds * 0.9 * float64(time.Second))
}

func withQuery(url, query string) string {
	if query == "" {
		return url
	}
	return url + "?" + query
}

func (p *Page) count(part string, err error) {
	if err == nil {
		return
	}
	p.failures.WithLabelValues(part).Inc()
	p.log.Warn("metrics left out", "part", part, "error", err)
}

func (p *Page) writeOwn(w io.Writer) error {
	families, err := p.own.Gather()
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return err
}

// writeEnvoy writes Envoy's part, within the budget of series.
func (p *Page) writeEnvoy(ctx context.Context, w io.Writer, r *http.Request) error {
	page := p.series.pass(renaming(w), func() (*plan, error) {
		all := &survey{families: map[string]*surveyed{}}
		err := p.relay(ctx, r, withQuery(p.envoy, "filter=%5Eistio"), all.line)
		return all.plan(p.series.max), err
	})
	err := p.relay(ctx, r, withQuery(p.envoy, r.URL.RawQuery), page.line)
	return errors.Join(err, page.end(err == nil && r.URL.RawQuery == ""))
}

func (p *Page) relay(ctx context.Context, r *http.Request, url string, line lineWriter) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", textFormat)
	for _, name := range []string{"User-Agent", "X-Prometheus-Scrape-Timeout-Seconds"} {
		if v := r.Header.Get(name); v != "" {
			request.Header.Set(name, v)
		}
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return copyLines(response.Body, line)
}
