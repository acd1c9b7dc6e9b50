package translate

import (
	"cmp"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
)

// assignment renders the endpoints of one cluster, by locality. Endpoints of
// weight 0 count as 1. Source: envoy.config.endpoint.v3.ClusterLoadAssignment.
func (b *builder) assignment(a *model.Assignment) message {
	out := &endpoint.ClusterLoadAssignment{ClusterName: a.Cluster}
	for _, group := range a.Groups {
		l := b.locality(group.Endpoints)
		l.Priority, l.LoadBalancingWeight = group.Priority, wrapperspb.UInt32(group.Weight)
		out.Endpoints = append(out.Endpoints, l)
	}
	if a.Groups == nil {
		for _, group := range byLocality(a.Endpoints) {
			out.Endpoints = append(out.Endpoints, b.locality(group))
		}
	}
	return message{name: a.Cluster, body: out}
}

// byLocality groups endpoints, each group and all of them in a fixed order.
func byLocality(all []*model.Endpoint) (groups [][]*model.Endpoint) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(x, y *model.Endpoint) int {
		return cmp.Or(
			cmp.Compare(x.Locality.Region, y.Locality.Region), cmp.Compare(x.Locality.Zone, y.Locality.Zone),
			cmp.Compare(x.Locality.SubZone, y.Locality.SubZone), cmp.Compare(x.Address, y.Address), cmp.Compare(x.Port, y.Port))
	})
	for i, ep := range all {
		if i == 0 || ep.Locality != all[i-1].Locality {
			groups = append(groups, nil)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], ep)
	}
	return groups
}

func (b *builder) locality(group []*model.Endpoint) *endpoint.LocalityLbEndpoints {
	out := &endpoint.LocalityLbEndpoints{}
	if l := group[0].Locality; l != (model.Locality{}) {
		out.Locality = &core.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
	}
	total := uint32(0)
	for _, ep := range group {
		lb := b.endpoint(ep)
		total += lb.GetLoadBalancingWeight().GetValue()
		out.LbEndpoints = append(out.LbEndpoints, lb)
	}
	out.LoadBalancingWeight = wrapperspb.UInt32(total)
	return out
}

func (b *builder) endpoint(ep *model.Endpoint) *endpoint.LbEndpoint {
	return &endpoint.LbEndpoint{
		HostIdentifier:      &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: endpointAddress(ep)}},
		HealthStatus:        health(ep.Health),
		LoadBalancingWeight: wrapperspb.UInt32(max(ep.Weight, 1)),
		Metadata:            b.endpointMetadata(ep),
	}
}

// endpointMetadata says whether the endpoint speaks mesh mTLS, which selects
// the cluster's transport socket, and names its workload for telemetry.
func (b *builder) endpointMetadata(ep *model.Endpoint) *core.Metadata {
	return metadata(func(e *encoder) {
		if ep.MTLS {
			e.space("envoy.transport_socket_match", e.speaksMesh)
		}
		if ep.Workload != "" { // as the endpoint's own certificate says it, which is where its proxy's callees read it
			e.space(telemetrySpace, func() {
				e.say("wl", spiffe.WorkloadLabel.Short(ep.Workload), "ns", spiffe.NamespaceLabel.Short(ep.Namespace),
					"app", spiffe.AppLabel.Short(ep.App), "ver", spiffe.VersionLabel.Short(ep.Version), "cl", b.ClusterID)
			})
		}
	})
}

// speaksMesh marks the endpoints that take mesh mTLS, and picks them.
func (e *encoder) speaksMesh() { e.say("tlsMode", "istio") }

// endpointAddress is an IP or name with its port, or a Unix socket.
func endpointAddress(ep *model.Endpoint) *core.Address {
	if path, ok := strings.CutPrefix(ep.Address, "unix://"); ok {
		return &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: path}}}
	}
	return address(ep.Address, ep.Port)
}

func health(h model.Health) core.HealthStatus {
	switch h {
	case model.Unhealthy:
		return core.HealthStatus_UNHEALTHY
	case model.Draining:
		return core.HealthStatus_DRAINING
	default:
		return core.HealthStatus_HEALTHY
	}
}

func address(ip string, port uint32) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: ip, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
	}}}
}
