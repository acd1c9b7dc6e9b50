package translate

import (
	"maps"
	"slices"
	"strings"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	otellog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	otlp "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/model"
)

// otelLog sends records to a collector: the text is their body, the labels are
// their attributes. Which workload they are of is said by the proxy's environment,
// as for spans.
// Source: envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig.
func (b *builder) otelLog(l model.AccessLog) *accesslog.AccessLog {
	format := l.Provider.Format
	body := strings.TrimSuffix(format.Text, "\n") // a record has no line end
	if body == "" {
		body = strings.TrimSuffix(accessLogFormat, "\n")
	}
	config := &otellog.OpenTelemetryAccessLogConfig{
		GrpcService: grpcService(l.Cluster, l.Provider.Collector.Host),
		LogName:     l.Provider.Collector.LogName, ResourceDetectors: b.ownResource(),
		Body: otelText(body), Formatters: b.formatters(format.Text + format.Labels),
	}
	if format.Labels != "" {
		fields := &structpb.Struct{}
		if err := fields.UnmarshalJSON([]byte(format.Labels)); err != nil {
			b.errs = append(b.errs, err)
		}
		config.Attributes = otelFields(fields)
	}
	return &accesslog.AccessLog{Name: "envoy.access_loggers.open_telemetry", ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(config)}}
}

func otelText(text string) *otlp.AnyValue {
	return &otlp.AnyValue{Value: &otlp.AnyValue_StringValue{StringValue: text}}
}

func otelFields(in *structpb.Struct) *otlp.KeyValueList {
	out := &otlp.KeyValueList{}
	for _, name := range slices.Sorted(maps.Keys(in.GetFields())) {
		out.Values = append(out.Values, &otlp.KeyValue{Key: name, Value: otelValue(in.GetFields()[name])})
	}
	return out
}

// otelValue: of scalars Envoy takes text alone.
func otelValue(v *structpb.Value) *otlp.AnyValue {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return &otlp.AnyValue{Value: &otlp.AnyValue_KvlistValue{KvlistValue: otelFields(kind.StructValue)}}
	case *structpb.Value_ListValue:
		list := &otlp.ArrayValue{}
		for _, one := range kind.ListValue.GetValues() {
			list.Values = append(list.Values, otelValue(one))
		}
		return &otlp.AnyValue{Value: &otlp.AnyValue_ArrayValue{ArrayValue: list}}
	case *structpb.Value_StringValue:
		return otelText(kind.StringValue)
	}
	text, err := v.MarshalJSON()
	if err != nil || v.GetKind() == nil {
		return otelText("")
	}
	return otelText(string(text))
}
