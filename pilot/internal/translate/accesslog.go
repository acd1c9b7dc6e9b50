package translate

import (
	"strings"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	fileaccess "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	stream "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	withoutquery "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/model"
)

// accessLogFormat is Istio's default line.
const accessLogFormat = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% " +
	"%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% " +
	"%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" " +
	"\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% " +
	"%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"

// accessLogFields are Istio's default fields of JSON.
const accessLogFields = `{
	"start_time": "%START_TIME%", "route_name": "%ROUTE_NAME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
	"protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%",
	"response_code_details": "%RESPONSE_CODE_DETAILS%", "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
	"bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%", "duration": "%DURATION%",
	"upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
	"user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%", "authority": "%REQ(:AUTHORITY)%",
	"upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%", "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
	"downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%", "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
	"requested_server_name": "%REQUESTED_SERVER_NAME%", "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%"
}`

// accessLogs is where requests, or connections, are logged when they have ended.
// Who takes only records of the other is left out.
func (b *builder) accessLogs(not model.LogProtocol) (out []*accesslog.AccessLog) {
	for _, l := range b.reporting().Logs {
		var log *accesslog.AccessLog
		switch c := l.Provider.Collector; {
		case c == nil:
			log = b.fileLog(l.Provider.Path, b.logFormat(l.Provider.Format))
		case c.Protocol == not:
			continue
		case c.Protocol == model.OTLPLogs:
			log = b.otelLog(l)
		default:
			log = b.serviceLog(l)
		}
		log.Filter = at(logdata.AccessLogType_DownstreamEnd, logdata.AccessLogType_TcpConnectionEnd)
		if l.Filter != "" {
			log.Filter = both(log.GetFilter(), b.expressionFilter(l.Filter))
		}
		out = append(out, log)
	}
	return out
}

// fileLog writes to a file. Standard streams have loggers of their own: as
// files they cannot be opened by the proxy's user.
func (b *builder) fileLog(path string, format *core.SubstitutionFormatString) *accesslog.AccessLog {
	var name string
	var config validated
	switch path {
	case "/dev/stdout":
		name, config = "envoy.access_loggers.stdout", &stream.StdoutAccessLog{AccessLogFormat: &stream.StdoutAccessLog_LogFormat{LogFormat: format}}
	case "/dev/stderr":
		name, config = "envoy.access_loggers.stderr", &stream.StderrAccessLog{AccessLogFormat: &stream.StderrAccessLog_LogFormat{LogFormat: format}}
	default:
		name, config = "envoy.access_loggers.file", &fileaccess.FileAccessLog{Path: path, AccessLogFormat: &fileaccess.FileAccessLog_LogFormat{LogFormat: format}}
	}
	return &accesslog.AccessLog{Name: name, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(config)}}
}

// logFormat is the form of a line.
// Source: envoy.config.core.v3.SubstitutionFormatString.
func (b *builder) logFormat(f model.LogFormat) *core.SubstitutionFormatString {
	out := &core.SubstitutionFormatString{OmitEmptyValues: f.OmitEmpty}
	text := f.Text
	switch {
	case f.JSON:
		if text = f.Labels; text == "" {
			text = accessLogFields
		}
		fields := &structpb.Struct{}
		if err := fields.UnmarshalJSON([]byte(text)); err != nil {
			b.errs = append(b.errs, err)
		}
		out.Format = &core.SubstitutionFormatString_JsonFormat{JsonFormat: fields}
	default:
		if text == "" {
			text = accessLogFormat
		}
		out.Format = &core.SubstitutionFormatString_TextFormatSource{TextFormatSource: &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: text}}}
	}
	out.Formatters = b.formatters(text)
	return out
}

// formatters are those that must be asked for: of a path without its query.
func (b *builder) formatters(text string) []*core.TypedExtensionConfig {
	if !strings.Contains(text, "%REQ_WITHOUT_QUERY") {
		return nil
	}
	return []*core.TypedExtensionConfig{{Name: "envoy.formatter.req_without_query", TypedConfig: b.pack(&withoutquery.ReqWithoutQuery{})}}
}

// expressionFilter logs what a CEL expression holds for.
// Source: envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter.
func (b *builder) expressionFilter(expression string) *accesslog.AccessLogFilter {
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslog.ExtensionFilter{
		Name:       "envoy.access_loggers.extension_filters.cel",
		ConfigType: &accesslog.ExtensionFilter_TypedConfig{TypedConfig: b.pack(&celfilter.ExpressionFilter{Expression: expression})},
	}}}
}
