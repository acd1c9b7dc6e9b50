package translate

import (
	"cmp"
	"math"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondns "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dns "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	rawbuffer "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// Clusters that do not belong to a service.
const (
	passthroughCluster        = "PassthroughCluster"
	blackHoleCluster          = "BlackHoleCluster"
	inboundPassthroughCluster = "InboundPassthroughCluster"
)

// fixedClusters are those that each sidecar has for traffic to no service.
func (b *builder) fixedClusters() []message {
	if b.class.Role != model.RoleOutbound {
		return nil
	}
	blackHole := &cluster.Cluster{Name: blackHoleCluster, Metadata: telemetryMetadata("unknown", blackHoleCluster, "unknown"), ClusterDiscoveryType: discovery(cluster.Cluster_STATIC), ConnectTimeout: b.connectTimeout(nil)}
	passthrough := &cluster.Cluster{Name: passthroughCluster, CircuitBreakers: breakers(nil), Metadata: telemetryMetadata("unknown", passthroughCluster, "unknown")}
	b.dialled(passthrough, nil)
	passthrough.TypedExtensionProtocolOptions = b.protocolOptions(useClients, nil, nil)
	return []message{{name: blackHoleCluster, body: blackHole}, {name: passthroughCluster, body: passthrough}}
}

// cluster renders one outbound cluster.
// Source: envoy.config.cluster.v3.Cluster.
func (b *builder) cluster(c *model.Cluster) message {
	pool := c.Traffic.Pool
	out := &cluster.Cluster{
		Name: c.Name, ConnectTimeout: b.connectTimeout(pool), CircuitBreakers: breakers(pool), Metadata: clusterMetadata(c),
		CommonLbConfig: &cluster.Cluster_CommonLbConfig{}, UpstreamConnectionOptions: keepalive(pool),
	}
	switch {
	case c.Dialled():
		b.dialled(out, pool)
	case c.EDS():
		out.ClusterDiscoveryType = discovery(cluster.Cluster_EDS)
		out.EdsClusterConfig = &cluster.Cluster_EdsClusterConfig{EdsConfig: ads()}
		balance(out, c.Traffic.LB)
	default:
		b.byDNS(out, c)
		balance(out, c.Traffic.LB)
	}
	outlier(out, c.Traffic.Outlier)
	out.TypedExtensionProtocolOptions = b.protocolOptions(wireOf(c.Port.Protocol, pool), pool, c.Traffic.TLS)
	b.clientTLS(out, c)
	return message{name: c.Name, body: out, sources: sourcesOf(c.Origin)}
}

func discovery(t cluster.Cluster_DiscoveryType) *cluster.Cluster_Type {
	return &cluster.Cluster_Type{Type: t}
}

// dialled makes out connect to the address that the client dialled.
func (b *builder) dialled(out *cluster.Cluster, pool *model.ConnectionPool) {
	out.ClusterDiscoveryType = discovery(cluster.Cluster_ORIGINAL_DST)
	out.LbPolicy = cluster.Cluster_CLUSTER_PROVIDED
	out.ConnectTimeout = b.connectTimeout(pool)
}

// byDNS makes the proxy resolve the service's host, each address an endpoint.
// Source: envoy.extensions.clusters.dns.v3.DnsCluster.
func (b *builder) byDNS(out *cluster.Cluster, c *model.Cluster) {
	out.ClusterDiscoveryType = &cluster.Cluster_ClusterType{ClusterType: &cluster.Cluster_CustomClusterType{
		Name: "envoy.clusters.dns",
		TypedConfig: b.pack(&dns.DnsCluster{
			DnsRefreshRate: durationpb.New(time.Minute), RespectDnsTtl: true, DnsLookupFamily: commondns.DnsLookupFamily_ALL,
		}),
	}}
	host := cmp.Or(c.Service.External, c.Service.Host)
	port := cmp.Or(c.Port.Target, c.Port.Number)
	out.LoadAssignment = &endpoint.ClusterLoadAssignment{ClusterName: c.Name, Endpoints: []*endpoint.LocalityLbEndpoints{{
		LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address(host, port)}}}},
	}}}
}

func (b *builder) connectTimeout(pool *model.ConnectionPool) *durationpb.Duration {
	if pool != nil && pool.ConnectTimeout > 0 {
		return durationpb.New(pool.ConnectTimeout)
	}
	return durationpb.New(cmp.Or(b.ConnectTimeout, 10*time.Second))
}

// breakers are the limits of pool; as in Istio there are none by default.
func breakers(pool *model.ConnectionPool) *cluster.CircuitBreakers {
	if pool == nil {
		pool = &model.ConnectionPool{}
	}
	limit := func(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(cmp.Or(n, math.MaxUint32)) }
	return &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{
		MaxConnections: limit(pool.MaxConnections), MaxPendingRequests: limit(pool.MaxPendingRequests),
		MaxRequests: limit(pool.MaxRequests), MaxRetries: limit(pool.MaxRetries), TrackRemaining: true,
	}}}
}

func keepalive(pool *model.ConnectionPool) *cluster.UpstreamConnectionOptions {
	if pool == nil || !pool.Keepalive {
		return nil
	}
	return &cluster.UpstreamConnectionOptions{TcpKeepalive: &core.TcpKeepalive{
		KeepaliveProbes: number(pool.KeepaliveProbes), KeepaliveTime: seconds(pool.KeepaliveTime), KeepaliveInterval: seconds(pool.KeepaliveInterval),
	}}
}

// number is n, or nil for 0: Envoy's default.
func number(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return nil
	}
	return wrapperspb.UInt32(n)
}

// seconds is d in seconds, at least 1, or nil for 0: the system's default.
func seconds(d time.Duration) *wrapperspb.UInt32Value {
	if d <= 0 {
		return nil
	}
	return wrapperspb.UInt32(max(1, uint32(d/time.Second)))
}

// span is d, or nil for 0: Envoy's default.
func span(d time.Duration) *durationpb.Duration {
	if d <= 0 {
		return nil
	}
	return durationpb.New(d)
}

// outlier ejects failing endpoints. The fields and their units are Istio's
// OutlierDetection; ejection by success rate is off, as there. Envoy's panic
// mode is off unless minHealthPercent asks for it.
func outlier(out *cluster.Cluster, o *model.OutlierDetection) {
	if out.CommonLbConfig == nil {
		out.CommonLbConfig = &cluster.Cluster_CommonLbConfig{}
	}
	out.CommonLbConfig.HealthyPanicThreshold = &xtype.Percent{}
	if o == nil {
		return
	}
	out.CommonLbConfig.HealthyPanicThreshold.Value = float64(o.MinHealthPercent)
	// Envoy merges changes of health for 1 s by default: for so long an ejected
	// host would go on being called (seen: 33 calls after its third failure).
	out.CommonLbConfig.UpdateMergeWindow = durationpb.New(0)
	d := &cluster.OutlierDetection{
		EnforcingSuccessRate: wrapperspb.UInt32(0), Interval: span(o.Interval), BaseEjectionTime: span(o.BaseEjection),
		SplitExternalLocalOriginErrors: o.SplitLocal,
	}
	d.Consecutive_5Xx, d.EnforcingConsecutive_5Xx = consecutive(o.Consecutive5xx)
	d.ConsecutiveGatewayFailure, d.EnforcingConsecutiveGatewayFailure = consecutive(o.ConsecutiveGateway)
	if o.MaxEjectionPercent != nil {
		d.MaxEjectionPercent = wrapperspb.UInt32(*o.MaxEjectionPercent)
	}
	if o.SplitLocal {
		d.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
		d.ConsecutiveLocalOriginFailure, d.EnforcingConsecutiveLocalOriginFailure = consecutive(o.ConsecutiveLocal)
	}
	out.OutlierDetection = d
}

// consecutive is a count and by how many percent it is enforced: nil leaves
// both to Envoy, 0 turns the detection off.
func consecutive(n *uint32) (count, enforced *wrapperspb.UInt32Value) {
	switch {
	case n == nil:
		return nil, nil
	case *n == 0:
		return nil, wrapperspb.UInt32(0)
	default:
		return wrapperspb.UInt32(*n), wrapperspb.UInt32(100)
	}
}

// clusterMetadata is what Kiali and Istio's tools read: the object that
// configures the cluster, the service, and the subset.
func clusterMetadata(c *model.Cluster) *core.Metadata {
	services := &structpb.ListValue{Values: []*structpb.Value{
		structpb.NewStructValue(stringStruct("host", c.Service.Host, "name", c.Service.Name, "namespace", c.Service.Namespace)),
	}}
	s := stringStruct()
	if c.Origin != "" {
		s = stringStruct("config", string(c.Origin))
	}
	if c.Subset != "" {
		s.Fields["subset"] = structpb.NewStringValue(c.Subset)
	}
	s.Fields["services"] = structpb.NewListValue(services)
	s.Fields["default_original_port"] = structpb.NewNumberValue(float64(c.Port.Number))
	out := telemetryMetadata(c.Service.Host, c.Service.Name, c.Service.Namespace)
	out.FilterMetadata["istio"] = s
	return out
}

// clientTLS sets how connections to the cluster are secured: as the
// DestinationRule says, else mesh mTLS to those endpoints that speak it.
func (b *builder) clientTLS(out *cluster.Cluster, c *model.Cluster) {
	switch t := c.Traffic.TLS; {
	case t == nil && b.AutoMTLS && c.EDS() && !c.Plain:
		out.TransportSocketMatches = []*cluster.Cluster_TransportSocketMatch{
			{Name: "tlsMode-istio", Match: stringStruct("tlsMode", "istio"), TransportSocket: b.meshClient(c, c.Identities)},
			{Name: "tlsMode-disabled", Match: stringStruct(), TransportSocket: b.rawSocket()},
		}
	case t == nil || t.Mode == model.TLSDisable:
	case t.Mode == model.TLSMesh:
		names := t.SANs
		if len(names) == 0 {
			names = c.Identities
		}
		out.TransportSocket = b.meshClient(c, names)
	default:
		out.TransportSocket = b.ownClient(c, t)
	}
}

func (b *builder) rawSocket() *core.TransportSocket {
	return &core.TransportSocket{Name: "envoy.transport_sockets.raw_buffer", ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: b.pack(&rawbuffer.RawBuffer{})}}
}

// sourcesOf turns Kiali's path into "Kind/namespace/name".
func sourcesOf(origins ...model.Origin) (out []string) {
	for _, o := range origins {
		if s := o.Source(); s != "" {
			out = append(out, s)
		}
	}
	return out
}
