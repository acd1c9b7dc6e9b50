package translate

import (
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	trace "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuid "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	detector "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	tracetag "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// traced has a manager report spans. Of requests on which nobody has decided
// yet a part is sampled, and of those that ask for it (X-Client-Trace-Id) all, as
// in Istio.
//
// Source: envoy.extensions.filters.network.http_connection_manager.v3,
// HttpConnectionManager.Tracing.
func (b *builder) traced(m *hcm.HttpConnectionManager) {
	t := b.reporting().Tracing
	if t == nil {
		return
	}
	all := &xtype.Percent{Value: 100}
	m.Tracing = &hcm.HttpConnectionManager_Tracing{
		Provider: b.tracer(t), ClientSampling: all, OverallSampling: all, RandomSampling: &xtype.Percent{Value: t.Sampling},
		CustomTags: traceTags(t), NoContextPropagation: t.NoPropagation,
	}
	if t.MaxTag != 0 {
		m.Tracing.MaxPathTagLength = wrapperspb.UInt32(t.MaxTag)
	}
	if !t.ByRequestID {
		m.RequestIdExtension = &hcm.RequestIDExtension{TypedConfig: b.pack(&uuid.UuidRequestIdConfig{UseRequestIdForTraceSampling: wrapperspb.Bool(false)})}
	}
}

// tracer sends spans. Which workload they are of is said by the proxy's
// environment, so that it splits no class.
// Source: envoy.config.trace.v3, OpenTelemetryConfig and ZipkinConfig.
func (b *builder) tracer(t *model.Tracing) *trace.Tracing_Http {
	name := "envoy.tracers.opentelemetry"
	var config validated
	switch t.Tracer.Protocol {
	case model.Zipkin:
		name = "envoy.tracers.zipkin"
		zipkin := &trace.ZipkinConfig{
			CollectorEndpointVersion: trace.ZipkinConfig_HTTP_JSON, CollectorService: exportHTTP(t), TraceId_128Bit: !t.Tracer.ShortIDs,
			SharedSpanContext: wrapperspb.Bool(false),
		}
		if t.Tracer.W3C {
			zipkin.TraceContextOption = trace.ZipkinConfig_USE_B3_WITH_W3C_PROPAGATION
		}
		config = zipkin
	case model.OTLPHTTP:
		config = &trace.OpenTelemetryConfig{HttpService: exportHTTP(t), ResourceDetectors: b.ownResource()}
	case model.OTLPGRPC:
		config = &trace.OpenTelemetryConfig{GrpcService: exportGRPC(t), ResourceDetectors: b.ownResource()}
	}
	return &trace.Tracing_Http{Name: name, ConfigType: &trace.Tracing_Http_TypedConfig{TypedConfig: b.pack(config)}}
}

// ownResource are OTEL_RESOURCE_ATTRIBUTES, as the agent sets them.
func (b *builder) ownResource() []*core.TypedExtensionConfig {
	return []*core.TypedExtensionConfig{{Name: "envoy.tracers.opentelemetry.resource_detectors.environment", TypedConfig: b.pack(&detector.EnvironmentResourceDetectorConfig{})}}
}

func exportGRPC(t *model.Tracing) *core.GrpcService {
	out := grpcService(t.Cluster, t.Tracer.Host)
	out.Timeout = span(t.Tracer.Timeout)
	for _, h := range t.Tracer.Headers {
		out.InitialMetadata = append(out.InitialMetadata, &core.HeaderValue{Key: h.Name, Value: h.Value})
	}
	return out
}

// exportHTTP: unlike those of gRPC, headers are formats to Envoy.
func exportHTTP(t *model.Tracing) *core.HttpService {
	out := &core.HttpService{HttpUri: &core.HttpUri{
		Uri: "http://" + t.Tracer.Host + t.Tracer.Path, Timeout: span(t.Tracer.Timeout), HttpUpstreamType: &core.HttpUri_Cluster{Cluster: t.Cluster},
	}}
	for _, h := range t.Tracer.Headers {
		out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, &core.HeaderValueOption{
			Header: &core.HeaderValue{Key: h.Name, Value: strings.ReplaceAll(h.Value, "%", "%%")}, AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return out
}

// istioTags are those that Istio gives every span, by the proxy's environment.
var istioTags = []model.TraceTag{
	{Name: "istio.canonical_revision", From: model.TagEnvironment, Value: "WEFT_CANONICAL_REVISION"},
	{Name: "istio.canonical_service", From: model.TagEnvironment, Value: "WEFT_CANONICAL_SERVICE"},
	{Name: "istio.cluster_id", From: model.TagEnvironment, Value: "WEFT_CLUSTER"},
	{Name: "istio.mesh_id", From: model.TagEnvironment, Value: "WEFT_MESH"},
	{Name: "istio.namespace", From: model.TagEnvironment, Value: "WEFT_NAMESPACE"},
}

// traceTags are a span's attributes beside Envoy's own.
func traceTags(t *model.Tracing) (out []*tracetag.CustomTag) {
	if t.IstioTags {
		for _, tag := range istioTags {
			out = append(out, traceTag(tag))
		}
	}
	for _, tag := range t.Tags {
		out = append(out, traceTag(tag))
	}
	return out
}

// traceTag is one attribute.
// Source: envoy.type.tracing.v3.CustomTag.
func traceTag(t model.TraceTag) *tracetag.CustomTag {
	out := &tracetag.CustomTag{Tag: t.Name}
	switch t.From {
	case model.TagLiteral:
		out.Type = &tracetag.CustomTag_Literal_{Literal: &tracetag.CustomTag_Literal{Value: t.Value}}
	case model.TagEnvironment:
		out.Type = &tracetag.CustomTag_Environment_{Environment: &tracetag.CustomTag_Environment{Name: t.Value, DefaultValue: t.Default}}
	case model.TagHeader:
		out.Type = &tracetag.CustomTag_RequestHeader{RequestHeader: &tracetag.CustomTag_Header{Name: t.Value, DefaultValue: t.Default}}
	case model.TagFormat:
		out.Type = &tracetag.CustomTag_Value{Value: t.Value}
	}
	return out
}
