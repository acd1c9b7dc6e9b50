package envoy

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collectorClusters begin so: their endpoints collect traces.
const collectorClusters = "trace|"

// Span is one of a trace, as a collector got it.
type Span struct {
	Cluster           string      // by which it came
	Path              string      // at which it came
	Headers           http.Header // of the call that brought it
	Service           string      // that it is of
	Name              string
	Trace, ID, Parent string // in hex; Parent is empty for the first
	Tags              map[string]string
}

// Spans are those that collectors got so far.
func (p *Proxy) Spans() []Span {
	p.echoes.mu.Lock()
	defer p.echoes.mu.Unlock()
	return append([]Span(nil), p.echoes.spans...)
}

// collect plays a collector of OpenTelemetry, over gRPC and HTTP, and of
// Zipkin.
func (e *echoes) collect(cluster string, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	grpc := strings.HasPrefix(r.Header.Get("content-type"), "application/grpc")
	if err != nil || grpc && len(body) < 5 {
		panic(http.ErrAbortHandler)
	}
	if grpc {
		body = body[5:]
	}
	spans, err := ReadSpans(r.Header.Get("content-type"), body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	e.mu.Lock()
	for _, s := range spans {
		s.Cluster, s.Path, s.Headers = cluster, r.URL.Path, r.Header
		e.spans = append(e.spans, s)
	}
	e.mu.Unlock()
	if grpc {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		_, _ = w.Write(make([]byte, 5))
	}
}

// ReadSpans reads the body of one export, without gRPC's frame: of Zipkin's JSON
// (v2), else of OTLP.
func ReadSpans(contentType string, body []byte) ([]Span, error) {
	if strings.HasPrefix(contentType, "application/json") {
		return zipkinSpans(body)
	}
	var in otlp.TracesData // the same fields as ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	var out []Span
	for _, resource := range in.GetResourceSpans() {
		service := tagsOf(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				out = append(out, Span{
					Service: service, Name: s.GetName(), Tags: tagsOf(s.GetAttributes()), Trace: hex.EncodeToString(s.GetTraceId()),
					ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
				})
			}
		}
	}
	return out, nil
}

func tagsOf(all []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range all {
		out[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return out
}

func zipkinSpans(body []byte) (out []Span, err error) {
	var in []struct {
		Name, ID, TraceID, ParentID string
		LocalEndpoint               struct{ ServiceName string }
		Tags                        map[string]string
	}
	err = json.Unmarshal(body, &in)
	for _, s := range in {
		out = append(out, Span{Service: s.LocalEndpoint.ServiceName, Name: s.Name, Trace: s.TraceID, ID: s.ID, Parent: s.ParentID, Tags: s.Tags})
	}
	return out, err
}
