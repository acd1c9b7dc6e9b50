package translate

import (
	"cmp"
	"math"
	"slices"
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
	pool := b.Defaults.Traffic.Pool
	passthrough := &cluster.Cluster{Name: passthroughCluster, CircuitBreakers: breakers(pool), UpstreamConnectionOptions: b.keepalive(pool), Metadata: telemetryMetadata("unknown", passthroughCluster, "unknown")}
	b.dialled(passthrough, pool)
	passthrough.TypedExtensionProtocolOptions = b.protocolOptions(useClients, &model.Traffic{Pool: pool})
	return append(b.unknownHosts(), message{name: blackHoleCluster, body: blackHole}, message{name: passthroughCluster, body: passthrough})
}

// cluster renders one outbound cluster.
// Source: envoy.config.cluster.v3.Cluster.
func (b *builder) cluster(c *model.Cluster) message {
	m := b.mannerOf(c)
	out := message{name: c.Name, sources: distinct(sourcesOf(c.Origin, c.Service.Origin))}
	if b.usual(&m) && b.named(c, &m) {
		out.body, out.written = aCluster, b.usualCluster(c, &m)
	} else {
		out.body = b.anyCluster(c, &m)
	}
	return out
}

// aCluster is what a written one is read as. Nobody writes to it.
var aCluster = &cluster.Cluster{}

// anyCluster makes a cluster of any manner.
func (b *builder) anyCluster(c *model.Cluster, m *manner) *cluster.Cluster {
	out := &cluster.Cluster{Name: c.Name, Metadata: metadata(func(e *encoder) { e.cluster(c) }), AltStatName: statName(b.Defaults.OutboundStat, c)}
	b.clientTLS(out, c)
	if b.usual(m) {
		graft(b, out, m.way, func() *cluster.Cluster { return b.common(m) })
	} else {
		b.behave(out, m)
	}
	switch {
	case otherPort(c, m):
		out.LbConfig = &cluster.Cluster_OriginalDstLbConfig_{OriginalDstLbConfig: &cluster.Cluster_OriginalDstLbConfig{UpstreamPortOverride: wrapperspb.UInt32(c.Port.Target)}}
	case !m.dialled && !m.asked && !m.eds:
		b.byDNS(out, c)
	}
	b.healthChecks(out, c)
	b.proxyProtocol(out, c.Traffic.ProxyProtocol)
	return out
}

// otherPort reports whether connections go to another port than the one that
// the client dialled.
func otherPort(c *model.Cluster, m *manner) bool {
	t := c.Port.Target
	return m.dialled && c.Service.Resolve == model.ResolveNone && t != 0 && t != c.Port.Number
}

func (b *builder) behave(out *cluster.Cluster, m *manner) {
	pool := m.traffic.Pool
	out.ConnectTimeout, out.CircuitBreakers, out.UpstreamConnectionOptions = b.connectTimeout(pool), breakers(pool), b.keepalive(pool)
	switch {
	case m.dialled:
		b.dialled(out, pool)
	case m.asked:
		b.byAsked(out)
	case m.eds:
		out.ClusterDiscoveryType = discovery(cluster.Cluster_EDS)
		out.EdsClusterConfig = &cluster.Cluster_EdsClusterConfig{EdsConfig: ads()}
		b.balance(out, m.traffic.LB)
	default:
		b.balance(out, m.traffic.LB)
	}
	outlier(out, m.traffic.Outlier)
	b.localities(out, m.locality)
	if m.session {
		sessions(out)
	}
	out.TypedExtensionProtocolOptions = b.protocolOptions(m.wire, &m.traffic)
	retryBudget(out, m.traffic.RetryBudget)
	if m.auto { // after mesh mTLS: this matches each
		out.TransportSocketMatches = append(out.TransportSocketMatches, &cluster.Cluster_TransportSocketMatch{
			Name: "tlsMode-disabled", Match: &structpb.Struct{}, TransportSocket: b.rawSocket(),
		})
	}
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

// byDNS makes the proxy resolve the service's endpoints, each address a host of
// its own; or, for DNS_ROUND_ROBIN, all addresses one host, whose connections
// stay when the answer changes.
// Source: envoy.extensions.clusters.dns.v3.DnsCluster.
func (b *builder) byDNS(out *cluster.Cluster, c *model.Cluster) {
	if len(c.Endpoints) == 0 && c.Service.External == "" {
		out.ClusterDiscoveryType = discovery(cluster.Cluster_STATIC) // nobody to ask for
		return
	}
	out.ClusterDiscoveryType = &cluster.Cluster_ClusterType{ClusterType: &cluster.Cluster_CustomClusterType{
		Name: "envoy.clusters.dns",
		TypedConfig: b.pack(&dns.DnsCluster{
			DnsRefreshRate: durationpb.New(cmp.Or(b.DNSRefresh, time.Minute)), RespectDnsTtl: true, DnsLookupFamily: commondns.DnsLookupFamily_ALL,
			AllAddressesInSingleEndpoint: c.Service.Resolve == model.ResolveFirst,
		}),
	}}
	all := c.Endpoints
	if len(all) == 0 {
		all = []*model.Endpoint{{Address: c.Service.External, Port: cmp.Or(c.Port.Target, c.Port.Number)}}
	}
	if c.Service.Resolve == model.ResolveFirst {
		all = all[:1] // Envoy takes no more
	}
	out.LoadAssignment = &endpoint.ClusterLoadAssignment{ClusterName: c.Name}
	for _, group := range byLocality(all) {
		out.LoadAssignment.Endpoints = append(out.LoadAssignment.Endpoints, b.locality(group))
	}
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

// keepalive are the system's probes: what the pool says of each over what the
// mesh says, as Istio merges them.
func (b *builder) keepalive(pool *model.ConnectionPool) *cluster.UpstreamConnectionOptions {
	own := pool != nil && pool.Keepalive
	if !own && b.Defaults.Keepalive == nil {
		return nil
	}
	var all model.Keepalive
	if b.Defaults.Keepalive != nil {
		all = *b.Defaults.Keepalive
	}
	if own {
		all = model.Keepalive{
			Probes: cmp.Or(pool.KeepaliveProbes, all.Probes), Time: cmp.Or(pool.KeepaliveTime, all.Time), Interval: cmp.Or(pool.KeepaliveInterval, all.Interval),
		}
	}
	return &cluster.UpstreamConnectionOptions{TcpKeepalive: &core.TcpKeepalive{
		KeepaliveProbes: number(all.Probes), KeepaliveTime: seconds(all.Time), KeepaliveInterval: seconds(all.Interval),
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

// cluster adds the metadata of a cluster, which Kiali and Istio's tools read:
// the object that configures it, the service, and the subset.
func (e *encoder) cluster(c *model.Cluster) {
	s := c.Service
	e.space(istioSpace, func() {
		if c.Origin != "" {
			e.say("config", string(c.Origin))
		}
		e.sayNumber("default_original_port", float64(c.Port.Number))
		e.sayList("services", func() { e.say("host", s.Host, "name", s.Name, "namespace", s.Namespace) })
		if c.Subset != "" {
			e.say("subset", c.Subset)
		}
	})
	e.telemetry(s.Host, s.Name, s.Namespace)
}

// istioSpace is the filter metadata that Kiali and Istio's tools read.
const istioSpace = "istio"

// meshMatch is the socket match of endpoints that take mesh mTLS.
const meshMatch = "tlsMode-istio"

// clientTLS sets how connections to the cluster are secured: as the
// DestinationRule says, else mesh mTLS to those endpoints that speak it.
func (b *builder) clientTLS(out *cluster.Cluster, c *model.Cluster) {
	switch t := c.Traffic.TLS; {
	case b.autoMTLS(c):
		out.TransportSocketMatches = []*cluster.Cluster_TransportSocketMatch{{Name: meshMatch, Match: structure((*encoder).speaksMesh), TransportSocket: b.meshClient(c, c.Identities)}}
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

// autoMTLS reports whether endpoints of a cluster may take mesh mTLS, and others
// none. What is outside of the mesh takes none (Istio, ServiceEntry.location).
func (b *builder) autoMTLS(c *model.Cluster) bool {
	meshed := func(e *model.Endpoint) bool { return e.MTLS }
	return b.AutoMTLS && c.Traffic.TLS == nil && !c.Plain && !c.Service.Outside && (c.EDS() || slices.ContainsFunc(c.Endpoints, meshed))
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
