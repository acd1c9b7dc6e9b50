package figures

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Query is what is asked of an agent's page: with it Envoy leaves out what is not
// read here.
const Query = `filter=%5Eistio%7Coutlier_detection%5C.ejections_active`

// Names of Istio's metrics.
const (
	requestsTotal = "istio_requests_total"
	duration      = "istio_request_duration_milliseconds"
	requestBytes  = "istio_request_bytes"
	responseBytes = "istio_response_bytes"
	tcpReceived   = "istio_tcp_received_bytes_total"
	tcpSent       = "istio_tcp_sent_bytes_total"
	tcpOpened     = "istio_tcp_connections_opened_total"
	tcpClosed     = "istio_tcp_connections_closed_total"

	ejectedAt = "weft_upstream_ejected_timestamp_seconds" // the agent's
)

// types are the families that are read.
const types = "# TYPE " + requestsTotal + " counter\n# TYPE " + duration + " histogram\n" +
	"# TYPE " + requestBytes + " histogram\n# TYPE " + responseBytes + " histogram\n" +
	"# TYPE " + tcpReceived + " counter\n# TYPE " + tcpSent + " counter\n" +
	"# TYPE " + tcpOpened + " counter\n# TYPE " + tcpClosed + " counter\n" +
	"# TYPE " + ejectedAt + " gauge\n# TYPE " + overflowsTotal + " counter\n" +
	"# TYPE " + overflowingAt + " gauge\n# TYPE " + overflowingLimit + " gauge\n"

// maxLine bounds a line, which has all of a series' labels.
const maxLine = 1 << 20

// Read reads a page of metrics in Prometheus' text format. What is neither among
// Istio's standard metrics nor of ejections and overflows is left out, whatever an app writes there. With an
// error comes what could be read before it.
func Read(page io.Reader, of Pod, at time.Time) (Sample, error) {
	out := Sample{Pod: of, At: at, Flows: map[Flow]Counts{}}
	text := bytes.NewBufferString(types)
	lines := bufio.NewScanner(page)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := lines.Bytes()
		switch name := nameOf(line); {
		case wanted(name):
			text.Write(line)
			text.WriteByte('\n')
		case strings.HasPrefix(name, "envoy_cluster_") && strings.HasSuffix(name, "_outlier_detection_ejections_active"):
			out.Ejecting += valueOf(line)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	for name, family := range families {
		for _, m := range family.GetMetric() {
			out.add(name, m)
		}
	}
	sortOverflows(out.Overflows)
	if lines.Err() != nil {
		err = lines.Err()
	}
	if err != nil {
		err = fmt.Errorf("metrics of %s/%s: %w", of.Namespace, of.Name, err)
	}
	return out, err
}

// nameOf is a sample's metric; "" of a comment.
func nameOf(line []byte) string {
	end := bytes.IndexAny(line, "{ \t")
	if end <= 0 || line[0] == '#' {
		return ""
	}
	return string(line[:end])
}

// wanted says whether a metric is part of a family that is read.
func wanted(name string) bool {
	switch name {
	case requestsTotal, tcpReceived, tcpSent, tcpOpened, tcpClosed, ejectedAt, overflowsTotal, overflowingAt, overflowingLimit:
		return true
	}
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		switch family, found := strings.CutSuffix(name, part); {
		case found && (family == duration || family == requestBytes || family == responseBytes):
			return true
		}
	}
	return false
}

// valueOf is a gauge's value, 0 where it is no number.
func valueOf(line []byte) int {
	_, text, _ := bytes.Cut(line[bytes.LastIndexByte(line, '}')+1:], []byte(" "))
	n, err := strconv.ParseFloat(string(bytes.TrimSpace(text)), 64)
	if err != nil || !(n > 0 && n < math.MaxInt32) {
		return 0
	}
	return int(n)
}

func (s *Sample) add(name string, m *dto.Metric) {
	switch name {
	case ejectedAt:
		if len(s.Out) < maxOut {
			s.Out = append(s.Out, ejectionOf(m))
		}
		return
	case overflowsTotal, overflowingAt, overflowingLimit:
		s.overflow(name, m)
		return
	}
	flow := flowOf(labelsOf(m))
	c := s.Flows[flow]
	switch n := countable(m.GetCounter().GetValue()); name {
	case requestsTotal:
		c.Requests += n
	case duration:
		c.Duration = c.Duration.add(histogramOf(m.GetHistogram()))
	case requestBytes:
		c.Received += countable(m.GetHistogram().GetSampleSum())
	case responseBytes:
		c.Sent += countable(m.GetHistogram().GetSampleSum())
	case tcpReceived:
		c.Received += n
	case tcpSent:
		c.Sent += n
	case tcpOpened:
		c.Opened += n
	case tcpClosed:
		c.Closed += n
	}
	s.Flows[flow] = c
}

// maxCount bounds a counter: up to it each whole number has a float of its own, and
// no proxy counts as far. What is added up of such stays finite, which JSON needs.
const maxCount = 1 << 53

// countable is 0 for what no counter can be: NaN, infinite, negative, beyond maxCount.
func countable(v float64) float64 {
	if math.IsNaN(v) || v < 0 || v > maxCount {
		return 0
	}
	return v
}

// histogramOf makes counts of each bucket of those up to each bound. Buckets
// that hold nothing are kept: they say where the next one begins.
func histogramOf(h *dto.Histogram) Histogram {
	upTo := map[float64]float64{}
	for _, b := range h.GetBucket() {
		if bound := b.GetUpperBound(); !math.IsNaN(bound) {
			upTo[bound] = countable(float64(b.GetCumulativeCount()))
		}
	}
	if all := countable(float64(h.GetSampleCount())); all > 0 {
		upTo[math.Inf(1)] = max(upTo[math.Inf(1)], all)
	}
	return betweenBounds(upTo)
}

// Bounds of ejections, since a pod's page may say anything: an agent has a series for
// 100 hosts and one for the others, and events have short names.
const (
	maxOut    = 101
	maxReason = 100
)

// ejectionOf is without a time where the value can be none.
func ejectionOf(m *dto.Metric) Ejection {
	l := labelsOf(m)
	reason := l["reason"]
	if len(reason) > maxReason {
		reason = strings.Clone(reason[:maxReason]) // else the whole is kept with it
	}
	return Ejection{
		Service: l["destination_service"], Port: l["destination_port"], Subset: l["destination_subset"], Address: l["address"], Reason: reason,
		Since: timeOf(m.GetGauge().GetValue()),
	}
}

func labelsOf(m *dto.Metric) map[string]string {
	l := make(map[string]string, len(m.GetLabel()))
	for _, pair := range m.GetLabel() {
		l[pair.GetName()] = pair.GetValue()
	}
	return l
}

func flowOf(l map[string]string) Flow {
	known := func(name string) string {
		if v := l[name]; v != "" {
			return v
		}
		return Unknown
	}
	end := func(side string) End {
		return End{
			Workload: known(side + "_workload"), Namespace: known(side + "_workload_namespace"),
			Version: known(side + "_canonical_revision"), Principal: known(side + "_principal"),
		}
	}
	return Flow{
		Reporter: l["reporter"], Source: end("source"), Destination: end("destination"),
		Service: known("destination_service_name"), ServiceNamespace: known("destination_service_namespace"),
		Protocol: l["request_protocol"], Code: l["response_code"], GRPCStatus: l["grpc_response_status"], Flags: l["response_flags"],
		Security: known("connection_security_policy"),
	}
}
