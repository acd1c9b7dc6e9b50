// Package scrape serves the pod's metrics on one page: the agent's, Envoy's
// and the app's.
//
// Inputs: a registry, the address of Envoy's Prometheus listener and what is
// added to it, where the app's metrics are. Output: one page in the Prometheus
// text format or, for those who like it better, in OpenMetrics, always with status
// 200; a part that cannot be had is left out and counted, as is a line that would
// spoil the page. Of the agent it may import counts alone.
package scrape

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/weftmesh/weft/internal/agent/counts"
)

// Bounds of one part of the page.
const (
	maxTime  = 10 * time.Second
	maxBytes = 64 << 20
)

// DefaultSamples is some hundred callers or services, each with several codes. A line
// has about 700 bytes.
const DefaultSamples = 50_000

// What is asked of Envoy, which has nothing else, and of the app: what the reader
// wants, since a client library may name metrics by the format.
const (
	textFormat   = "text/plain;version=0.0.4"
	eitherFormat = "application/openmetrics-text;version=1.0.0;q=0.6," + textFormat + ";q=0.4"
)

// Page is an http.Handler. Make it with New.
type Page struct {
	own      prometheus.Gatherer
	envoy    string // URL; "" for none
	counted  func() counts.Counted
	app      string // URL; "" for none
	client   *http.Client
	log      *slog.Logger
	scrapes  prometheus.Counter
	failures *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	series   *budget
	room     *admission
}

// Options say what goes onto the page.
type Options struct {
	Own     prometheus.Gatherer   // the agent's metrics
	Metrics prometheus.Registerer // where the page registers those of its own that Istio's agent has
	Ours    prometheus.Registerer // and the others
	Envoy   string                // URL of Envoy's metrics; "" for none
	Counted func() counts.Counted // what is added to those; nil: nothing
	App     string                // URL of the app's; "" for none
	Samples int                   // of the mesh's metrics that are shown by themselves; 0: DefaultSamples
	// AppSamples are of the app's that are shown at all; 0: DefaultSamples.
	AppSamples int
	Log        *slog.Logger
}

// New returns the page. Its metrics have the names of Istio's agent where that has them.
func New(o Options) *Page {
	p := &Page{own: o.Own, envoy: o.Envoy, counted: o.Counted, app: o.App, log: o.Log}
	p.client = &http.Client{CheckRedirect: stay, Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, DisableCompression: true}}
	p.scrapes = prometheus.NewCounter(prometheus.CounterOpts{Name: "scrapes_total", Help: "Scrapes of the merged metrics page."})
	p.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "scrape_failures_total", Help: "Parts left out of the merged metrics page."}, []string{"type"})
	p.dropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "app_metric_lines_dropped_total", Help: "Lines of the app's metrics that were left out: reserved, they have a name of the mesh's own, istio_* or weft_*; invalid, readers would refuse the page; budget, there are too many.",
	}, []string{"reason"})
	for _, reason := range []string{reservedName, invalidLine, overBudget} {
		p.dropped.WithLabelValues(reason)
	}
	folded := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "mesh_samples_folded_total", Help: "Samples of the mesh's metrics that a scrape did not show by themselves, but added up as other."})
	p.series = &budget{max: cmp.Or(o.Samples, DefaultSamples), over: folded.Inc}
	p.room = &admission{max: cmp.Or(o.AppSamples, DefaultSamples)}
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

// stay follows a redirect to the port that was asked, where an app may have its page
// at another path, and to nowhere else: an app could have the agent ask others, the
// proxy's administration for one, in its name.
func stay(to *http.Request, via []*http.Request) error {
	from := via[0].URL
	if to.URL.Scheme != from.Scheme || to.URL.Host != from.Host {
		return fmt.Errorf("redirects to %s://%s, which is not followed: say in prometheus.io/path and prometheus.io/port where the metrics are", to.URL.Scheme, to.URL.Host)
	}
	if len(via) >= 3 {
		return errors.New("redirects again and again")
	}
	return nil
}

// negotiated is the format that a reader prefers.
func negotiated(r *http.Request) expfmt.Format {
	return expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
}

// ServeHTTP writes the page. Parts are passed on line by line, so that a big
// one costs no memory; a part that fails half way ends at a whole line.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience(r))
	defer cancel()
	p.scrapes.Inc()
	out := &formatter{w: w}
	w.Header().Set("Content-Type", textFormat+"; charset=utf-8")
	if asked := negotiated(r); asked.FormatType() == expfmt.TypeOpenMetrics {
		out.to = openMetrics
		w.Header().Set("Content-Type", string(asked))
	}
	p.count("agent", p.writeOwn(out))
	if p.envoy != "" {
		p.count("envoy", p.writeEnvoy(ctx, out, r))
	}
	if p.app != "" {
		p.count("application", p.writeApp(ctx, out, r))
	}
	p.count("agent", out.end())
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
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return err
		}
	}
	_, wrote := w.Write(text.Bytes())
	return errors.Join(err, wrote)
}

// writeEnvoy writes Envoy's part, with what the agent has counted, within the budget
// of series.
func (p *Page) writeEnvoy(ctx context.Context, w io.Writer, r *http.Request) error {
	page := p.series.pass(renaming(w), func() (*plan, error) {
		all := &survey{families: map[string]*surveyed{}}
		err := p.relaySums(ctx, r, "filter=%5Eistio", all.line)
		return all.plan(p.series.max), err
	})
	err := p.relaySums(ctx, r, r.URL.RawQuery, page.line)
	if !passed(err) {
		page.forget()
	}
	return errors.Join(err, page.end(passed(err) && r.URL.RawQuery == ""))
}

// relaySums passes Envoy's lines on, those of what the agent counts too with their
// sums.
func (p *Page) relaySums(ctx context.Context, r *http.Request, query string, line lineWriter) error {
	sum := &summing{write: line}
	if p.counted != nil {
		sum.counted = asked(p.counted(), query)
	}
	err := p.relay(ctx, r, withQuery(p.envoy, query), func(http.Header) lineWriter { return sum.line })
	if passed(err) {
		err = cmp.Or(sum.rest(), err)
	}
	return err
}

// writeApp writes the app's part.
func (p *Page) writeApp(ctx context.Context, out *formatter, r *http.Request) error {
	page := &appPage{out: out, room: p.room.room(), began: map[string]bool{}, kinds: map[string]string{}, drop: func(reason string) { p.dropped.WithLabelValues(reason).Inc() }}
	err := p.relay(ctx, r, p.app, func(h http.Header) lineWriter {
		if kind, _, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil && kind == "application/openmetrics-text" {
			out.from = openMetrics
		}
		return page.line
	})
	page.room.end(err == nil)
	return errors.Join(err, out.flush())
}

// relay gives the lines of a part to a writer that is chosen by its headers.
func (p *Page) relay(ctx context.Context, r *http.Request, url string, writer func(http.Header) lineWriter) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", textFormat)
	if url == p.app && negotiated(r).FormatType() == expfmt.TypeOpenMetrics {
		request.Header.Set("Accept", eitherFormat)
	}
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
	return copyLines(response.Body, writer(response.Header))
}
