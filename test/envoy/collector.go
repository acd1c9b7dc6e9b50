package envoy

import (
	"context"
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

// ServiceCluster is that of Envoy's access log service in an agent's bootstrap.
const ServiceCluster = "envoy_accesslog_service"

// hanging is in the names of clusters whose collectors take a call and read no
// more of it.
const hanging = "|hanging|"

// collects reports whether the endpoints of a cluster collect.
func collects(cluster string) bool {
	return strings.HasPrefix(cluster, collectorClusters) || strings.HasPrefix(cluster, logClusters) || cluster == ServiceCluster
}

// DroppedRecords is how many records of logs Envoy has thrown away since its access
// log service took no more.
func (p *Proxy) DroppedRecords(ctx context.Context) (uint64, error) {
	return p.counters(ctx, "access_logs.", `^access_logs\.grpc_access_log\.logs_dropped$`)
}

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

// collect plays a collector of OpenTelemetry, of traces and logs, over gRPC and HTTP, of
// Zipkin, and Envoy's access log service.
func (e *echoes) collect(cluster string, w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == traces.ServicePath {
		if strings.Contains(cluster, hanging) {
			<-r.Context().Done()
			return
		}
		_ = traces.ReadService(r.Body, func(one Record) { // a stream ends with the proxy
			one.Cluster = cluster
			e.mu.Lock()
			defer e.mu.Unlock()
			e.records = append(e.records, one)
		})
		return
	}
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
