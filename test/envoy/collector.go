package envoy

import (
	"io"
	"net/http"
	"strings"

	"github.com/weftmesh/weft/test/traces"
)

// Clusters begin so whose endpoints collect traces, and logs.
const (
	collectorClusters = "trace"
	logClusters       = "logs"
)

// Record is one of a log, as a collector got it.
type Record = traces.Record

// Records are those that collectors of logs got so far.
func (p *Proxy) Records() []Record {
	p.echoes.mu.Lock()
	defer p.echoes.mu.Unlock()
	return append([]Record(nil), p.echoes.records...)
}

// Span is one of a trace, as a collector got it.
type Span = traces.Span

// Spans are those that collectors got so far.
func (p *Proxy) Spans() []Span {
	p.echoes.mu.Lock()
	defer p.echoes.mu.Unlock()
	return append([]Span(nil), p.echoes.spans...)
}

// collect plays a collector of OpenTelemetry, of traces and logs, over gRPC and HTTP, and of
// Zipkin.
func (e *echoes) collect(cluster string, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	grpc := strings.HasPrefix(r.Header.Get("content-type"), "application/grpc")
	var spans []Span
	var records []Record
	var wrong error
	if r.URL.Path == traces.LogsPath {
		records, wrong = traces.ReadRecords(body)
	} else {
		spans, wrong = traces.Read(r.Header.Get("content-type"), body)
	}
	if err != nil || wrong != nil {
		panic(http.ErrAbortHandler)
	}
	e.mu.Lock()
	for _, s := range spans {
		s.Cluster, s.Path, s.Headers = cluster, r.URL.Path, r.Header
		e.spans = append(e.spans, s)
	}
	for _, one := range records {
		one.Cluster = cluster
		e.records = append(e.records, one)
	}
	e.mu.Unlock()
	if grpc {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		_, _ = w.Write(make([]byte, 5))
	}
}
