package translate

import (
	"cmp"
	"math"
	"slices"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// grpcCluster renders one cluster for a gRPC client. Source: gRFC A27, A37.
func (b *builder) grpcCluster(c *model.Cluster) message {
	out := &cluster.Cluster{Name: c.Name, CircuitBreakers: grpcLimits(c.Traffic.Pool), OutlierDetection: grpcOutlier(c.Traffic.Outlier)}
	grpcBalance(out, c.Traffic.LB)
	socket, able := b.grpcTLS(c)
	out.TransportSocket = socket
	switch {
	case c.EDS() && able:
		grpcEDS(out, "")
	case c.Service.Resolve.ByDNS() && able && (len(c.Endpoints) > 0 || c.Service.External != ""):
		grpcDNS(out, c)
	default:
		grpcEDS(out, blackHoleCluster)
	}
	return message{name: c.Name, body: out, sources: sourcesOf(c.Origin)}
}

// grpcDNS lets the client ask DNS for the first of the cluster's endpoints: of
// one name alone it can be told. Source: gRFC A37, LOGICAL_DNS.
func grpcDNS(out *cluster.Cluster, c *model.Cluster) {
	ep := &model.Endpoint{Address: c.Service.External, Port: cmp.Or(c.Port.Target, c.Port.Number)}
	if len(c.Endpoints) > 0 {
		ep = c.Endpoints[0]
	}
	out.ClusterDiscoveryType = discovery(cluster.Cluster_LOGICAL_DNS)
	out.LoadAssignment = &endpoint.ClusterLoadAssignment{ClusterName: c.Name, Endpoints: []*endpoint.LocalityLbEndpoints{{
		LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address(ep.Address, ep.Port)}}}},
	}}}
}

// grpcEDS takes the endpoints of service; empty: those of the cluster's name.
func grpcEDS(out *cluster.Cluster, service string) {
	out.ClusterDiscoveryType = discovery(cluster.Cluster_EDS)
	out.EdsClusterConfig = &cluster.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: service}
}

// grpcNowhere is the cluster of routes to nothing: calls fail at once. For a
// cluster that does not exist, gRPC waits.
func (b *builder) grpcNowhere() []message {
	out := &cluster.Cluster{Name: blackHoleCluster, LbPolicy: cluster.Cluster_ROUND_ROBIN}
	grpcEDS(out, "")
	return []message{{name: blackHoleCluster, body: out}}
}

// grpcNobody are the endpoints of grpcNowhere: none.
func (b *builder) grpcNobody() []message {
	return []message{{name: blackHoleCluster, body: &endpoint.ClusterLoadAssignment{ClusterName: blackHoleCluster}}}
}

// grpcLimits are those of gRFC A32. Without any gRPC would stop at 1,024 calls.
func grpcLimits(pool *model.ConnectionPool) *cluster.CircuitBreakers {
	limit := uint32(math.MaxUint32)
	if pool != nil {
		limit = cmp.Or(pool.MaxRequests, limit)
	}
	return &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{MaxRequests: wrapperspb.UInt32(limit)}}}
}

// grpcBalance sets the policy, of the three that gRPC has: RANDOM becomes
// ROUND_ROBIN, Maglev a ring. nil is LEAST_REQUEST, as for a sidecar.
func grpcBalance(out *cluster.Cluster, lb *model.LoadBalancer) {
	if lb == nil {
		lb = &model.LoadBalancer{}
	}
	switch lb.Algorithm {
	case model.LBRoundRobin, model.LBRandom:
		out.LbPolicy = cluster.Cluster_ROUND_ROBIN
	case model.LBHash:
		h := model.ConsistentHash{}
		if lb.Hash != nil && !lb.Hash.Maglev {
			h.MinRingSize = min(lb.Hash.MinRingSize, maxRing)
		}
		hashing(out, &h)
	default:
		out.LbPolicy = cluster.Cluster_LEAST_REQUEST
	}
}

// maxRing is the largest ring that gRPC makes (gRFC A42).
const maxRing = 8 << 20

// grpcOutlier ejects an endpoint all of whose calls in an interval failed, if
// there were as many as the rule names failures in a row: gRPC counts shares and
// no rows (gRFC A50). The lowest count of those in force decides.
func grpcOutlier(o *model.OutlierDetection) *cluster.OutlierDetection {
	if o == nil {
		return nil
	}
	count := uint32(0)
	for _, n := range []*uint32{o.Consecutive5xx, o.ConsecutiveGateway} {
		if n != nil && *n > 0 && (count == 0 || *n < count) {
			count = *n
		}
	}
	if o.Consecutive5xx == nil && count == 0 {
		count = 5 // Istio's default
	}
	if count == 0 {
		return nil
	}
	out := &cluster.OutlierDetection{
		Interval: span(o.Interval), BaseEjectionTime: span(o.BaseEjection), EnforcingSuccessRate: wrapperspb.UInt32(0),
		FailurePercentageThreshold: wrapperspb.UInt32(99), EnforcingFailurePercentage: wrapperspb.UInt32(100),
		FailurePercentageMinimumHosts: wrapperspb.UInt32(1), FailurePercentageRequestVolume: wrapperspb.UInt32(count),
	}
	if o.MaxEjectionPercent != nil {
		out.MaxEjectionPercent = wrapperspb.UInt32(*o.MaxEjectionPercent)
	}
	return out
}

// grpcTLS says how connections to the cluster are secured. It reports false
// where a gRPC client cannot do as the DestinationRule says: then no call may
// go out at all.
func (b *builder) grpcTLS(c *model.Cluster) (socket *core.TransportSocket, able bool) {
	switch t := c.Traffic.TLS; {
	case t == nil:
		if !b.AutoMTLS || !c.EDS() || !c.Secured {
			return nil, true
		}
		return b.grpcMesh(c, c.Identities), true
	case t.Mode == model.TLSDisable:
		return nil, true
	case t.Mode == model.TLSMesh:
		names := t.SANs
		if len(names) == 0 {
			names = c.Identities
		}
		return b.grpcMesh(c, names), true
	}
	return nil, false
}

// grpcMesh opens mesh mTLS to one of the identities, or to any of the trust
// domain.
func (b *builder) grpcMesh(c *model.Cluster, identities []string) *core.TransportSocket {
	context := grpcContext(b.withAliases(identities))
	if checks := context.GetValidationContext(); len(identities) == 0 {
		for _, td := range b.trustDomains() {
			any := &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: "spiffe://" + td + "/"}}
			checks.MatchSubjectAltNames = append(checks.MatchSubjectAltNames, any) //nolint:staticcheck // gRPC reads this field alone
		}
	}
	return b.socket(&tls.UpstreamTlsContext{CommonTlsContext: context, Sni: c.SNI})
}

// dialled is an address and port that was given already.
type dialled struct {
	address string
	port    uint32
}

// grpcAssignment renders endpoints: gRPC wants a locality of each group,
// priorities without a gap, and refuses an address that stands twice.
// Source: gRFC A27 and A37, ClusterLoadAssignment.
func (b *builder) grpcAssignment(a *model.Assignment) message {
	out := &endpoint.ClusterLoadAssignment{ClusterName: a.Cluster}
	seen := map[dialled]bool{}
	wanted, used := uint32(0), uint32(0) // the priority of the group before, and what it became
	for _, g := range grpcGroups(a) {
		entry := grpcLocality(g, seen)
		if len(entry.LbEndpoints) == 0 {
			continue
		}
		if len(out.Endpoints) > 0 && g.Priority != wanted {
			used++
		}
		wanted, entry.Priority = g.Priority, used
		out.Endpoints = append(out.Endpoints, entry)
	}
	return message{name: a.Cluster, body: out}
}

// grpcGroups are the groups of a, by priority; without locality load balancing
// all are alike.
func grpcGroups(a *model.Assignment) (out []model.Group) {
	if a.Groups != nil {
		out = slices.Clone(a.Groups)
		slices.SortStableFunc(out, func(a, b model.Group) int { return cmp.Compare(a.Priority, b.Priority) })
		return out
	}
	for _, all := range byLocality(a.Endpoints) {
		out = append(out, model.Group{Locality: all[0].Locality, Endpoints: all})
	}
	return out
}

// grpcLocality is one group without what was seen before. A Weight of 0 is that
// of the endpoints.
func grpcLocality(g model.Group, seen map[dialled]bool) *endpoint.LocalityLbEndpoints {
	out := &endpoint.LocalityLbEndpoints{Locality: &core.Locality{Region: g.Locality.Region, Zone: g.Locality.Zone, SubZone: g.Locality.SubZone}}
	total := uint32(0)
	for _, ep := range g.Endpoints {
		if strings.HasPrefix(ep.Address, "unix://") {
			continue // gRPC takes an address and port alone
		}
		if at := (dialled{ep.Address, ep.Port}); !seen[at] {
			seen[at] = true
			total += max(ep.Weight, 1)
			out.LbEndpoints = append(out.LbEndpoints, grpcEndpoint(ep))
		}
	}
	out.LoadBalancingWeight = wrapperspb.UInt32(cmp.Or(g.Weight, total))
	return out
}

func grpcEndpoint(ep *model.Endpoint) *endpoint.LbEndpoint {
	return &endpoint.LbEndpoint{
		HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address(ep.Address, ep.Port)}},
		HealthStatus:   health(ep.Health), LoadBalancingWeight: wrapperspb.UInt32(max(ep.Weight, 1)),
	}
}
