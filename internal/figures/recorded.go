package figures

import (
	"encoding/json"
	"errors"
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

// recordedBy is the label by which one query's parts are told apart: their places
// in recordedParts.
const recordedBy = "weft_figure"

// recordedFlow are a flow's labels, with those of the pod that counted it, which the
// scrape has put there.
const recordedFlow = "namespace, pod, reporter, source_workload, source_workload_namespace, source_principal, destination_workload, " +
	"destination_workload_namespace, destination_canonical_revision, destination_principal, destination_service_name, " +
	"destination_service_namespace, request_protocol, response_code, grpc_response_status, response_flags, connection_security_policy"

// recordedParts are the parts of the query, each with what its values are for.
var recordedParts = []struct {
	query string
	add   func(*recordedCounts, float64)
}{
	{flowsOf(requestsTotal), func(c *recordedCounts, n float64) { c.Requests += n }},
	// Buckets that hold nothing say where the next one begins: they are left out only where all do.
	{more("le, "+recordedFlow, duration+"_bucket") + " and on (" + recordedFlow + ") " + flowsOf(duration+"_count"), nil},
	{flowsOf(requestBytes + "_sum"), func(c *recordedCounts, n float64) { c.Received += n }},
	{flowsOf(responseBytes + "_sum"), func(c *recordedCounts, n float64) { c.Sent += n }},
	{flowsOf(tcpReceived), func(c *recordedCounts, n float64) { c.Received += n }},
	{flowsOf(tcpSent), func(c *recordedCounts, n float64) { c.Sent += n }},
	{flowsOf(tcpOpened), func(c *recordedCounts, n float64) { c.Opened += n }},
	{flowsOf(tcpClosed), func(c *recordedCounts, n float64) { c.Closed += n }},
	// What was scraped less than twice in that time cannot be told of.
	{`group by (namespace, pod) (count_over_time(istio_build{component=~"proxy|agent"}[WINDOW]) >= 2)`, nil},
	{`count by (destination_pod) (group by (namespace, pod, destination_pod) (weft_upstream_ejected{destination_pod!=""}))`, nil},
}

// The parts that are no sums.
const (
	partBuckets = 1
	partScraped = 8
	partEjected = 9
)

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
	for i, part := range recordedParts {
		parts = append(parts, fmt.Sprintf(`label_replace(%s, %q, "%d", "", "")`, part.query, recordedBy, i))
	}
	return strings.ReplaceAll(strings.Join(parts, " or "), "WINDOW", fmt.Sprintf("%dms", window.Milliseconds()))
}

// recordedCounts are counts whose buckets still hold what is below them too.
type recordedCounts struct {
	Counts
	upTo map[float64]float64
}

// ReadRecorded reads the answer to RecordedQuery. What is no such answer is an
// error, and what no counter can be counts nothing. Source: Prometheus, "HTTP API",
// Instant queries.
func ReadRecorded(answer []byte, window time.Duration) (Recorded, error) {
	out := Recorded{Window: window, Flows: map[string]map[Flow]Counts{}, Scraped: map[string]bool{}, Ejected: map[string]int{}}
	var read struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal(answer, &read); err != nil {
		return out, errors.New("its answer is not one of Prometheus' API")
	}
	if read.Status != "success" || read.Data.ResultType != "vector" {
		return out, fmt.Errorf("its answer is not one to such a question: status %q %s", read.Status, read.Error)
	}
	counted := map[string]map[Flow]*recordedCounts{}
	for _, series := range read.Data.Result {
		part, err := strconv.Atoi(series.Metric[recordedBy])
		if err != nil || part < 0 || part >= len(recordedParts) {
			return out, errors.New("its answer has series that were not asked for")
		}
		text, _ := series.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		out.add(counted, part, series.Metric, countable(value))
	}
	for pod, flows := range counted {
		out.Flows[pod] = make(map[Flow]Counts, len(flows))
		for flow, c := range flows {
			c.Duration = betweenBounds(c.upTo)
			out.Flows[pod][flow] = c.Counts
		}
	}
	return out, nil
}

func (r *Recorded) add(counted map[string]map[Flow]*recordedCounts, part int, labels map[string]string, n float64) {
	pod := labels["namespace"] + "/" + labels["pod"]
	switch part {
	case partScraped:
		r.Scraped[pod] = true
		return
	case partEjected:
		r.Ejected[labels["destination_pod"]] = int(min(n, math.MaxInt32))
		return
	}
	flow := flowOf(labels)
	if counted[pod] == nil {
		counted[pod] = map[Flow]*recordedCounts{}
	}
	c := counted[pod][flow]
	if c == nil {
		c = &recordedCounts{}
		counted[pod][flow] = c
	}
	if part != partBuckets {
		recordedParts[part].add(c, n)
		return
	}
	if bound, err := strconv.ParseFloat(labels["le"], 64); err == nil && !math.IsNaN(bound) {
		if c.upTo == nil {
			c.upTo = map[float64]float64{}
		}
		c.upTo[bound] += n
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
