package translate

import (
	"time"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	grpclog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	tracetag "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Each listener logs to the proxy's own agent too, for weft tap: nothing while
// nobody watches. The agent holds the key, by Envoy's runtime, so that a viewer
// comes and goes without a change of configuration (docs/decisions/029).

// The agent's names for its log: its cluster in the bootstrap, which an Envoy of an
// older agent, or of none, lacks and does not miss; and the key, in per cent.
const (
	tapCluster = "tap-grpc"
	tapKey     = "weft.tap"
)

// tapInterval is how long an entry waits for others at most.
const tapInterval = 500 * time.Millisecond

// Names of the two logs, by which the agent knows a request's direction.
const (
	tapInbound  = "inbound"
	tapOutbound = "outbound"
)

// httpTap shows requests when they end, tcpTap connections when they are made and
// when they end.
func (b *builder) httpTap(s side) *accesslog.AccessLog {
	return b.tap(at(logdata.AccessLogType_DownstreamEnd), "envoy.access_loggers.http_grpc", &grpclog.HttpGrpcAccessLogConfig{CommonConfig: tapConfig(s)})
}

func (b *builder) tcpTap(s side) *accesslog.AccessLog {
	told := at(logdata.AccessLogType_TcpUpstreamConnected, logdata.AccessLogType_TcpConnectionEnd)
	return b.tap(told, "envoy.access_loggers.tcp_grpc", &grpclog.TcpGrpcAccessLogConfig{CommonConfig: tapConfig(s)})
}

func (b *builder) tap(when *accesslog.AccessLogFilter, name string, config validated) *accesslog.AccessLog {
	watched := &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_RuntimeFilter{RuntimeFilter: &accesslog.RuntimeFilter{
		RuntimeKey: tapKey, PercentSampled: &xtype.FractionalPercent{}, UseIndependentRandomness: true,
	}}}
	return &accesslog.AccessLog{
		Name: name, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(config)}, Filter: both(when, watched),
	}
}

// tapConfig has two forms alone, one for each direction: an Envoy has one logger and one
// stream for each on each thread, however many listeners there are.
// Source: envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig.
func tapConfig(s side) *grpclog.CommonGrpcAccessLogConfig {
	out := &grpclog.CommonGrpcAccessLogConfig{
		LogName: tapOutbound, TransportApiVersion: core.ApiVersion_V3, BufferFlushInterval: durationpb.New(tapInterval), GrpcService: grpcService(tapCluster, ""),
		CustomTags: []*tracetag.CustomTag{tapTag("flags", "%RESPONSE_FLAGS%"), tapTag("grpc", "%GRPC_STATUS%"), tapTag("trace", "%TRACE_ID%")},
	}
	other := upstream
	if s.reporter == "destination" {
		out.LogName, other = tapInbound, caller
	}
	out.CustomTags = append(out.CustomTags, tapTag("peer", other.namespace+"/"+other.workload), tapTag("principal", other.principal))
	return out
}

// grpcService calls a cluster. Without an authority it is the cluster's name.
func grpcService(cluster, authority string) *core.GrpcService {
	return &core.GrpcService{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: cluster, Authority: authority}}}
}

func tapTag(name, format string) *tracetag.CustomTag {
	return &tracetag.CustomTag{Tag: name, Type: &tracetag.CustomTag_Value{Value: format}}
}
