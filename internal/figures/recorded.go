package figures

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Recorded is what a Prometheus knows of the last Window, of pods by NAMESPACE/POD.
type Recorded struct {
	Window  time.Duration
	Flows   map[string]map[Flow]Counts
	Scraped map[string]bool // pods whose page it has
	Ejected map[string]int  // proxies that leave a pod out now
}

// recordedFlow are a flow's labels, with those of the pod that counted it, which the
// scrape has put there.
const recordedFlow = "namespace, pod, reporter, source_workload, source_workload_namespace, source_principal, destination_workload, " +
	"destination_workload_namespace, destination_canonical_revision, destination_principal, destination_service_name, " +
	"destination_service_namespace, request_protocol, response_code, grpc_response_status, response_flags, connection_security_policy"

// part is one of the question, with what its values are for.
type part struct {
	query string
	add   func(r *reading, labels map[string]string, n float64)
}

// recordedParts are the parts of the question.
var recordedParts = []part{
	{flowsOf(requestsTotal), counted(func(c *Counts, n float64) { c.Requests += n })},
	// Buckets that hold nothing say where the next one begins: they are left out only where all do.
	{more("le, "+recordedFlow, duration+"_bucket") + " and on (" + recordedFlow + ") " + flowsOf(duration+"_count"), (*reading).bucket},
	{flowsOf(requestBytes + "_sum"), counted(func(c *Counts, n float64) { c.Received += n })},
	{flowsOf(responseBytes + "_sum"), counted(func(c *Counts, n float64) { c.Sent += n })},
	{flowsOf(tcpReceived), counted(func(c *Counts, n float64) { c.Received += n })},
	{flowsOf(tcpSent), counted(func(c *Counts, n float64) { c.Sent += n })},
	{flowsOf(tcpOpened), counted(func(c *Counts, n float64) { c.Opened += n })},
	{flowsOf(tcpClosed), counted(func(c *Counts, n float64) { c.Closed += n })},
	scrapedTwice,
	{`count by (destination_pod) (group by (namespace, pod, destination_pod) (weft_upstream_ejected{destination_pod!=""}))`,
		func(r *reading, labels map[string]string, n float64) {
			r.Ejected[labels["destination_pod"]] = int(min(n, math.MaxInt32))
		}},
}

// scrapedTwice: what was scraped less often in that time cannot be told of.
var scrapedTwice = part{`group by (namespace, pod) (count_over_time(istio_build{component=~"proxy|agent"}[WINDOW]) >= 2)`,
	func(r *reading, labels map[string]string, _ float64) { r.Scraped[podOf(labels)] = true }}

func flowsOf(counter string) string {
	return "(" + more(recordedFlow, counter) + " > 0)"
}

// more is how much a counter has grown. Of a series that begins in the window, as of
// the first failures, increase() leaves out the first value: where its pod was scraped
// before, all of it is new. A pod that two jobs scrape counts once.
func more(by, counter string) string {
	born := "((" + counter + " unless " + counter + " offset WINDOW) and on (namespace, pod) (istio_build offset WINDOW))"
	return "max by (" + by + ") (sum by (job, instance, " + by + ") (" + born + " or increase(" + counter + "[WINDOW])))"
}

// RecordedQuery asks a Prometheus for what ReadRecorded reads, in one instant query.
func RecordedQuery(window time.Duration) string {
	var parts []string
	for _, p := range recordedParts {
		parts = append(parts, p.over(window))
	}
	return Joined(parts)
}

func (p part) over(window time.Duration) string {
	return strings.ReplaceAll(p.query, "WINDOW", fmt.Sprintf("%dms", window.Milliseconds()))
}

// reading is an answer as it is read.
type reading struct {
	Recorded
	counted map[string]map[Flow]*recordedCounts
}

// recordedCounts are counts whose buckets still hold what is below them too.
type recordedCounts struct {
	Counts
	upTo map[float64]float64
}

// ReadRecorded reads the answer to RecordedQuery. What is no such answer is an
// error, and what no counter can be counts nothing.
func ReadRecorded(answer []byte, window time.Duration) (Recorded, error) {
	out := reading{counted: map[string]map[Flow]*recordedCounts{},
		Recorded: Recorded{Window: window, Flows: map[string]map[Flow]Counts{}, Scraped: map[string]bool{}, Ejected: map[string]int{}}}
	all, err := ReadJoined(answer, Vector, len(recordedParts))
	for _, series := range all {
		for _, sample := range series.Samples {
			recordedParts[series.Part].add(&out, series.Labels, countable(sample.Value))
		}
	}
	for pod, flows := range out.counted {
		out.Flows[pod] = make(map[Flow]Counts, len(flows))
		for flow, c := range flows {
			c.Duration = betweenBounds(c.upTo)
			out.Flows[pod][flow] = c.Counts
		}
	}
	return out.Recorded, err
}

func podOf(labels map[string]string) string { return labels["namespace"] + "/" + labels["pod"] }

// flow are the counts of a series' flow.
func (r *reading) flow(labels map[string]string) *recordedCounts {
	pod, flow := podOf(labels), flowOf(labels)
	if r.counted[pod] == nil {
		r.counted[pod] = map[Flow]*recordedCounts{}
	}
	if r.counted[pod][flow] == nil {
		r.counted[pod][flow] = &recordedCounts{upTo: map[float64]float64{}}
	}
	return r.counted[pod][flow]
}

func counted(add func(*Counts, float64)) func(*reading, map[string]string, float64) {
	return func(r *reading, labels map[string]string, n float64) { add(&r.flow(labels).Counts, n) }
}

func (r *reading) bucket(labels map[string]string, n float64) {
	if bound, err := strconv.ParseFloat(labels["le"], 64); err == nil && !math.IsNaN(bound) {
		r.flow(labels).upTo[bound] += n
	}
}

// Deltas are what the recorder knows of these pods; missing are those with a proxy
// that it does not scrape. Pods that have gone are left out.
func (r Recorded) Deltas(pods []Pod) (out []Delta, missing []string) {
	for _, p := range pods {
		name := p.Namespace + "/" + p.Name
		switch flows := r.Flows[name]; {
		case !p.Proxy:
		case !r.Scraped[name]:
			missing = append(missing, name)
		default:
			out = append(out, Delta{Pod: p, Seconds: r.Window.Seconds(), Flows: flows})
		}
	}
	return out, missing
}
