// Package traces reads what proxies send to collectors of traces and of logs.
//
// In: the body of one export, of OTLP or Zipkin. Out: its spans, or its records.
package traces

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// ExportPath is that of OTLP over gRPC.
const ExportPath = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

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

// Read gives the spans of a call to a collector: of gRPC if its content type
// says so, of Zipkin's JSON (v2), else of OTLP over HTTP.
func Read(contentType string, body []byte) ([]Span, error) {
	switch {
	case strings.HasPrefix(contentType, "application/json"):
		return zipkinSpans(body)
	case strings.HasPrefix(contentType, "application/grpc") && len(body) >= 5:
		body = body[5:] // its frame
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
