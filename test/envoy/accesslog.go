package envoy

import (
	"context"
	"strings"
	"sync"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	grpclog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	logservice "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Envoy's own word on each call comes by its gRPC access log, which writes at
// once. A call is known by the port of its connection: each has its own.

// accessLogs are the response flags of calls that have ended.
type accessLogs struct {
	logservice.UnimplementedAccessLogServiceServer
	mu      sync.Mutex
	flags   map[uint32]string // by the client's port
	changed chan struct{}     // closed and replaced at each new entry
}

func newAccessLogs() *accessLogs {
	return &accessLogs{flags: map[uint32]string{}, changed: make(chan struct{})}
}

// StreamAccessLogs takes what Envoy logs.
func (l *accessLogs) StreamAccessLogs(stream logservice.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			l.add(e.GetCommonProperties())
		}
		for _, e := range m.GetTcpLogs().GetLogEntry() {
			l.add(e.GetCommonProperties())
		}
	}
}

func (l *accessLogs) add(e *logdata.AccessLogCommon) {
	switch e.GetAccessLogType() {
	case logdata.AccessLogType_DownstreamEnd, logdata.AccessLogType_TcpConnectionEnd:
	default:
		return // it goes on
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flags[e.GetDownstreamDirectRemoteAddress().GetSocketAddress().GetPortValue()] = flagsOf(e.GetResponseFlags())
	close(l.changed)
	l.changed = make(chan struct{})
}

// begin forgets what an earlier connection from the same port was.
func (l *accessLogs) begin(port uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flags, port)
}

// await waits for the flags of the call from port; "" when ctx ends first.
func (l *accessLogs) await(ctx context.Context, port uint32) string {
	for {
		l.mu.Lock()
		flags, changed := l.flags[port], l.changed
		l.mu.Unlock()
		if flags != "" {
			return flags
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ""
		}
	}
}

// shortFlags are Envoy's short names of response flags by field, in the order
// in which it writes them.
// Source: "%RESPONSE_FLAGS%" of Envoy's documentation.
var shortFlags = []struct{ field, short string }{
	{"failed_local_healthcheck", "LH"}, {"no_healthy_upstream", "UH"}, {"upstream_request_timeout", "UT"}, {"local_reset", "LR"},
	{"upstream_remote_reset", "UR"}, {"upstream_connection_failure", "UF"}, {"upstream_connection_termination", "UC"},
	{"upstream_overflow", "UO"}, {"no_route_found", "NR"}, {"delay_injected", "DI"}, {"fault_injected", "FI"}, {"rate_limited", "RL"},
	{"unauthorized_details", "UAEX"}, {"rate_limit_service_error", "RLSE"}, {"downstream_connection_termination", "DC"},
	{"upstream_retry_limit_exceeded", "URX"}, {"stream_idle_timeout", "SI"}, {"invalid_envoy_request_headers", "IH"},
	{"downstream_protocol_error", "DPE"}, {"upstream_max_stream_duration_reached", "UMSDR"}, {"response_from_cache_filter", "RFCF"},
	{"no_filter_config_found", "NFCF"}, {"duration_timeout", "DT"}, {"upstream_protocol_error", "UPE"}, {"no_cluster_found", "NC"},
	{"overload_manager", "OM"}, {"dns_resolution_failure", "DF"}, {"downstream_remote_reset", "DR"},
}

// flagsOf writes flags as Envoy's text logs do: "UF,URX", or "-" for none.
func flagsOf(f *logdata.ResponseFlags) string {
	var out []string
	m := f.ProtoReflect()
	for _, s := range shortFlags {
		if m.Has(m.Descriptor().Fields().ByName(protoreflect.Name(s.field))) {
			out = append(out, s.short)
		}
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ",")
}

// logged makes each filter chain of l tell the harness how calls end.
func logged(l *listener.Listener) error {
	for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
		for _, f := range chain.GetFilters() {
			config, err := f.GetTypedConfig().UnmarshalNew()
			if err != nil {
				return err
			}
			common := &grpclog.CommonGrpcAccessLogConfig{
				LogName: "calls", TransportApiVersion: core.ApiVersion_V3, BufferSizeBytes: wrapperspb.UInt32(0),
				GrpcService: &core.GrpcService{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: "xds-grpc"}}},
			}
			var logger *accesslog.AccessLog
			switch m := config.(type) {
			case *hcm.HttpConnectionManager:
				if logger, err = accessLogger("envoy.access_loggers.http_grpc", &grpclog.HttpGrpcAccessLogConfig{CommonConfig: common}); err == nil {
					m.AccessLog = append(m.AccessLog, logger)
				}
			case *tcpproxy.TcpProxy:
				if logger, err = accessLogger("envoy.access_loggers.tcp_grpc", &grpclog.TcpGrpcAccessLogConfig{CommonConfig: common}); err == nil {
					m.AccessLog = append(m.AccessLog, logger)
				}
			default:
				continue
			}
			if err != nil {
				return err
			}
			packed, err := anypb.New(config)
			if err != nil {
				return err
			}
			f.ConfigType = &listener.Filter_TypedConfig{TypedConfig: packed}
		}
	}
	return nil
}

func accessLogger(name string, config proto.Message) (*accesslog.AccessLog, error) {
	packed, err := anypb.New(config)
	return &accesslog.AccessLog{Name: name, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: packed}}, err
}
