package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/spiffe"
)

// Bounds of a Prometheus' answer, how far back it is asked, and how far apart its
// points are.
const (
	maxRecorded  = 8 << 20
	recordedFor  = time.Hour
	recordedStep = 30 * time.Second
)

// noRecorder is what --prometheus says for none.
const noRecorder = "none"

// recorder is a Prometheus. Source: Prometheus, "HTTP API", Range queries.
type recorder interface {
	// get asks for a path; name is who answered, or should have. errNoRecorder: there
	// is none.
	get(ctx context.Context, path string) (text []byte, name string, err error)
}

var errNoRecorder = errors.New("no Prometheus")

// recorder is the Prometheus that is named, or that the cluster has; nil: none is
// wished for, or the mesh is a local one.
func (a *app) recorder(k *kube, named string) (recorder, error) {
	switch named {
	case noRecorder:
		return nil, nil
	case "":
	default:
		return recorderAt(named)
	}
	if cluster, err := a.inCluster(k); err != nil || !cluster {
		return nil, err
	}
	p, err := k.pods()
	if err != nil {
		return nil, err
	}
	return &recorderPod{find: p.prometheus, ask: func(ctx context.Context, pod corev1.Pod, path string) ([]byte, error) {
		return p.get(ctx, page{pod.Namespace, pod.Name, prometheusPort, path, ""})
	}}, nil
}

// recorderPod is the Prometheus of a cluster. It may be installed while we look.
type recorderPod struct {
	find func(context.Context) (corev1.Pod, error)
	ask  func(ctx context.Context, pod corev1.Pod, path string) ([]byte, error)

	mu    sync.Mutex
	pod   corev1.Pod // without a name: none is known
	why   error      // of that
	tried time.Time
}

// findEvery is how often a Prometheus is looked for where there was none.
const findEvery = 30 * time.Second

func (c *recorderPod) get(ctx context.Context, path string) ([]byte, string, error) {
	pod, err := c.known(ctx)
	if err != nil {
		return nil, "the cluster's", err
	}
	text, err := c.ask(ctx, pod, path)
	if err != nil && ctx.Err() == nil { // there may be another
		c.mu.Lock()
		c.pod, c.tried = corev1.Pod{}, time.Time{}
		c.mu.Unlock()
	}
	return text, pod.Namespace + "/" + pod.Name, err
}

// known is the pod, which is looked for where it is not known.
func (c *recorderPod) known(ctx context.Context) (corev1.Pod, error) {
	c.mu.Lock()
	pod, why, tried := c.pod, c.why, c.tried
	c.mu.Unlock()
	if pod.Name != "" || time.Since(tried) < findEvery {
		return pod, why
	}
	pod, why = c.find(ctx)
	if ctx.Err() != nil { // who asked has gone
		return pod, why
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pod, c.why, c.tried = pod, why, time.Now()
	return pod, why
}

const prometheusPort = 9090

// prometheus is the cluster's. Whoever may run a pod may label it so: of those of
// several namespaces none is chosen for the person.
func (p *pods) prometheus(ctx context.Context) (corev1.Pod, error) {
	at := slices.IndexFunc(addons, func(of addon) bool { return of.port == prometheusPort })
	for _, labels := range addons[at].labels {
		found, err := p.running(ctx, corev1.NamespaceAll, labels)
		if err != nil {
			return corev1.Pod{}, err
		}
		if pod, err := onePrometheus(found); err == nil || !errors.Is(err, errNoRecorder) {
			return pod, err
		}
	}
	return corev1.Pod{}, errNoRecorder
}

// onePrometheus is that of pods, a ready one before others, which serves Prometheus'
// port: older charts label what belongs to it alike.
func onePrometheus(found []corev1.Pod) (corev1.Pod, error) {
	found = slices.DeleteFunc(found, func(pod corev1.Pod) bool {
		return !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
			return slices.ContainsFunc(c.Ports, func(port corev1.ContainerPort) bool { return port.ContainerPort == prometheusPort })
		})
	})
	if len(found) == 0 {
		return corev1.Pod{}, errNoRecorder
	}
	for _, pod := range found {
		if pod.Namespace != found[0].Namespace {
			return corev1.Pod{}, fmt.Errorf("%s/%s and %s/%s are both labelled as Prometheus; port-forward to yours and name it by --prometheus URL",
				found[0].Namespace, found[0].Name, pod.Namespace, pod.Name)
		}
	}
	return found[max(0, slices.IndexFunc(found, readyPod))], nil
}

// recorderURL is a Prometheus by its address.
type recorderURL struct {
	address, name string
	client        *http.Client
}

func recorderAt(address string) (recorder, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usageError{fmt.Errorf("--prometheus %q: it is an address such as http://127.0.0.1:9090, or %s", address, noRecorder)}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &recorderURL{strings.TrimSuffix(address, "/") + "/", u.Redacted(), client}, nil
}

func (r *recorderURL) get(ctx context.Context, path string) ([]byte, string, error) {
	text, err := r.fetch(ctx, path)
	var whole *url.Error
	if errors.As(err, &whole) { // the address is the question, and long
		err = whole.Err
	}
	return text, r.name, err
}

func (r *recorderURL) fetch(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.address+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := answered(resp)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(io.LimitReader(body, maxPage+1))
}

// past is how a row went by a recorder. An error says why that is not known.
func past(ctx context.Context, r recorder, of dashboard.Charted) (dashboard.History, error) {
	out := dashboard.History{StepSeconds: recordedStep.Seconds()}
	end := time.Now().Truncate(recordedStep)
	q := url.Values{
		"query": {recordedQuery(of)}, "step": {strconv.FormatFloat(recordedStep.Seconds(), 'f', -1, 64)},
		"start": {strconv.FormatInt(end.Add(-recordedFor).Unix(), 10)}, "end": {strconv.FormatInt(end.Unix(), 10)},
	}
	text, by, err := r.get(ctx, "api/v1/query_range?"+q.Encode())
	if errors.Is(err, errNoRecorder) {
		return out, nil
	}
	if err == nil {
		out.By = by
		out.Points, err = recordedPoints(text, end)
	}
	if err != nil {
		return out, fmt.Errorf("prometheus (%s): %w", by, printable{err})
	}
	return out, nil
}

// rater is the rate of a metric's series, of those with more labels.
type rater func(metric string, more ...string) string

// Requests whose caller waited for the answer, and those of them that are well: as
// the dashboards of samples/addons have it.
const (
	patient = `response_flags!~".*DC.*"`
	fine    = `response_code!~"5..|0",grpc_response_status!~"2|4|12|13|14|15"`
)

// recordedParts are the figures of a point, in its order.
var recordedParts = []func(rate rater) string{
	func(rate rater) string { return "sum(" + rate("istio_requests_total") + ")" },
	func(rate rater) string {
		all := "sum(" + rate("istio_requests_total", patient) + ")"
		return "(sum(" + rate("istio_requests_total", patient, fine) + ") or 0 * " + all + ") / " + all
	},
	recordedQuantile("0.5"), recordedQuantile("0.95"), recordedQuantile("0.99"),
	recordedBytes("istio_request_bytes_sum", "istio_tcp_received_bytes_total"),
	recordedBytes("istio_response_bytes_sum", "istio_tcp_sent_bytes_total"),
	func(rate rater) string { return "sum(" + rate("istio_tcp_connections_opened_total") + ")" },
}

func recordedQuantile(q string) func(rater) string {
	return func(rate rater) string {
		return "histogram_quantile(" + q + ", sum by (le) (" + rate("istio_request_duration_milliseconds_bucket") + "))"
	}
}

func recordedBytes(http, tcp string) func(rater) string {
	return func(rate rater) string {
		return "sum(sum(" + rate(http) + `) or label_replace(sum(` + rate(tcp) + `), "of", "tcp", "", ""))`
	}
}

func recordedQuery(of dashboard.Charted) string {
	one := func(metric string, labels ...string) string {
		return fmt.Sprintf("rate(%s{%s}[3m])", metric, strings.Join(labels, ","))
	}
	rate := func(metric string, more ...string) string {
		return one(metric, append([]string{recordedSelector(of)}, more...)...)
	}
	if of.Kind == figures.Services {
		rate = func(metric string, more ...string) string {
			asked, served := serviceSelectors(of)
			return one(metric, append([]string{asked}, more...)...) + " or (" + one(metric, append([]string{served}, more...)...) +
				" unless on (destination_service_namespace, destination_service_name) (" + one(metric, asked, unproven) + " > 0))"
		}
	}
	var parts []string
	for _, part := range recordedParts {
		parts = append(parts, part(rate))
	}
	return figures.Joined(parts)
}

// unproven are calls of callers' proxies that arrived in plaintext: their servers, who
// know no caller, have counted them too. See figures.asked.
const unproven = `destination_principal=~"|unknown",response_flags!~".*(UF|UH|UO|NR|NC).*"`

// serviceSelectors find the series of a service: its callers', and its servers' of
// callers without a proxy.
func serviceSelectors(of dashboard.Charted) (asked, served string) {
	service := labelled("destination_service_namespace", of.Namespace, "destination_service_name", of.Name)
	return `reporter="source",` + service, `reporter="destination",source_workload=~"|unknown",` + service
}

// recordedSelector finds the series of a workload or a pod, by whoever counts it: see
// figures.Rows.
func recordedSelector(of dashboard.Charted) string {
	namespace, name := spiffe.NamespaceLabel.Short(of.Namespace), spiffe.WorkloadLabel.Short(of.Name)
	const source, destination = `reporter="source",`, `reporter="destination",`
	switch pod := labelled("namespace", of.Namespace, "pod", of.Name); {
	case of.Kind == figures.Pods && of.By == figures.ByGateway:
		return source + pod
	case of.Kind == figures.Pods:
		return destination + pod
	case of.By == figures.ByGateway:
		return source + labelled("source_workload_namespace", namespace, "source_workload", name)
	case of.By == figures.ByClients:
		return source + labelled("destination_workload_namespace", namespace, "destination_workload", name)
	}
	return destination + labelled("destination_workload_namespace", namespace, "destination_workload", name)
}

// labelled are labels and their values, in turns.
func labelled(pairs ...string) string {
	var out []string
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, pair[0]+"="+promText(pair[1]))
	}
	return strings.Join(out, ",")
}

// promText is a string of Prometheus' language, which has Go's escapes.
func promText(s string) string { return strconv.Quote(strings.ToValidUTF8(s, "\uFFFD")) }

// recordedPoints reads an answer. What is no such answer is an error, and what is no
// number is not known.
func recordedPoints(text []byte, end time.Time) ([]dashboard.Point, error) {
	if len(text) > maxRecorded {
		return nil, fmt.Errorf("its answer is larger than %d MiB", maxRecorded>>20)
	}
	answer, err := figures.ReadJoined(text, figures.Matrix, len(recordedParts))
	if err == nil && len(answer) > len(recordedParts) {
		err = errors.New("its answer is not one to such a question: it has more series than were asked for")
	}
	if err != nil {
		return nil, err
	}
	first, n := end.Add(-recordedFor), int(recordedFor/recordedStep)+1
	points, known := make([]dashboard.Point, n), make([]bool, n)
	for _, series := range answer {
		for _, sample := range series.Samples {
			i := math.Round((sample.At - float64(first.Unix())) / recordedStep.Seconds())
			if !(i >= 0 && i < float64(n)) || math.IsNaN(sample.Value) || math.IsInf(sample.Value, 0) {
				continue
			}
			points[int(i)].Set(series.Part, sample.Value)
			known[int(i)] = true
		}
	}
	out := []dashboard.Point{}
	for i := range points {
		if known[i] {
			points[i].At = first.Add(time.Duration(i) * recordedStep).UTC()
			out = append(out, points[i])
		}
	}
	return out, nil
}
