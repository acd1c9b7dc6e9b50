package translate

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// healthChecks has the proxy ask the endpoints itself, in the way, mTLS or
// not, in which requests go there. A tenth of jitter keeps many proxies apart.
// Source: envoy.config.core.v3.HealthCheck.
func (b *builder) healthChecks(out *cluster.Cluster, c *model.Cluster) {
	h := c.Service.HealthCheck
	// Envoy refuses a cluster with gRPC's check that does not speak HTTP/2.
	if h == nil || !c.EDS() || h.Kind == model.CheckGRPC && b.wireOf(c.Port.Protocol, c.Traffic.Pool) != http2 {
		return
	}
	check := &core.HealthCheck{
		Interval: durationpb.New(h.Interval), Timeout: durationpb.New(h.Timeout), IntervalJitterPercent: 10,
		HealthyThreshold: wrapperspb.UInt32(h.Healthy), UnhealthyThreshold: wrapperspb.UInt32(h.Unhealthy),
		// Else Envoy asks only once a minute until a minute after the first request.
		NoTrafficInterval: durationpb.New(h.Interval),
	}
	switch h.Kind {
	case model.CheckGRPC:
		check.HealthChecker = &core.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &core.HealthCheck_GrpcHealthCheck{ServiceName: h.Service, Authority: c.Service.Host}}
	case model.CheckTCP:
		check.HealthChecker = &core.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &core.HealthCheck_TcpHealthCheck{}}
	default:
		http := &core.HealthCheck_HttpHealthCheck{Path: h.Path, Host: c.Service.Host}
		if c.Port.Protocol.IsHTTP2() {
			http.CodecClientType = xtype.CodecClientType_HTTP2
		}
		check.HealthChecker = &core.HealthCheck_HttpHealthCheck_{HttpHealthCheck: http}
	}
	out.HealthChecks = []*core.HealthCheck{check}
}

// ageJitter is by how many percent a connection may grow older than its limit,
// so that many that began together do not end together.
const ageJitter = 10

// limitAge ends a client's connection when it is old: HTTP/2 by GOAWAY, after
// which a request that is on its way is answered.
// Source: envoy.config.core.v3.HttpProtocolOptions.max_connection_duration.
func limitAge(m *hcm.HttpConnectionManager, p model.InboundPort) {
	if p.Service == nil || p.Service.MaxAge == 0 {
		return
	}
	m.CommonHttpProtocolOptions.MaxConnectionDuration = durationpb.New(p.Service.MaxAge)
	m.CommonHttpProtocolOptions.MaxConnectionDurationJitter = &xtype.Percent{Value: ageJitter}
}
