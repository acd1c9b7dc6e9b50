package translate

import (
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpclog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"

	"github.com/weftmesh/weft/internal/model"
)

// serviceLog sends records to Envoy's access log service. Envoy bounds by itself
// what waits for a service that takes nothing: the buffer of one stream a thread.
// Source: envoy.extensions.access_loggers.grpc.v3.
func (b *builder) serviceLog(l model.AccessLog) *accesslog.AccessLog {
	c := l.Provider.Collector
	common := &grpclog.CommonGrpcAccessLogConfig{
		LogName: c.LogName, TransportApiVersion: core.ApiVersion_V3, FilterStateObjectsToLog: c.FilterState,
		GrpcService: &core.GrpcService{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{EnvoyGrpc: &core.GrpcService_EnvoyGrpc{
			ClusterName: l.Cluster, Authority: c.Host}}},
	}
	if len(c.FilterState) == 0 {
		for _, key := range callerKeys {
			common.FilterStateObjectsToLog = append(common.FilterStateObjectsToLog, callerState(key))
		}
	}
	var name string
	var config validated
	if c.Protocol == model.TCPLogs {
		name, config = "envoy.access_loggers.tcp_grpc", &grpclog.TcpGrpcAccessLogConfig{CommonConfig: common}
	} else {
		name, config = "envoy.access_loggers.http_grpc", &grpclog.HttpGrpcAccessLogConfig{
			CommonConfig: common, AdditionalRequestHeadersToLog: c.RequestHeaders,
			AdditionalResponseHeadersToLog: c.ResponseHeaders, AdditionalResponseTrailersToLog: c.ResponseTrailers,
		}
	}
	return &accesslog.AccessLog{Name: name, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(config)}}
}
