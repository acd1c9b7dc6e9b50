package translate

import (
	"cmp"
	"slices"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// assignment renders the endpoints of one cluster, by locality. Endpoints of
// weight 0 count as 1. Source: envoy.config.endpoint.v3.ClusterLoadAssignment.
func (b *builder) assignment(a *model.Assignment) message {
	out := &endpoint.ClusterLoadAssignment{ClusterName: a.Cluster}
	for _, group := range byLocality(a.Endpoints) {
		out.Endpoints = append(out.Endpoints, b.locality(group))
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
		HostIdentifier:      &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address(ep.Address, ep.Port)}},
		HealthStatus:        health(ep.Health),
		LoadBalancingWeight: wrapperspb.UInt32(max(ep.Weight, 1)),
		Metadata:            b.endpointMetadata(ep),
	}
}

// endpointMetadata says whether the endpoint speaks mesh mTLS, which selects
// the cluster's transport socket, and names its workload for telemetry.
func (b *builder) endpointMetadata(ep *model.Endpoint) *core.Metadata {
	fields := map[string]*structpb.Struct{}
	if ep.MTLS {
		fields["envoy.transport_socket_match"] = stringStruct("tlsMode", "istio")
	}
	if ep.Workload != "" {
		fields[telemetrySpace] = stringStruct("wl", ep.Workload, "ns", ep.Namespace, "app", ep.App, "ver", ep.Version, "cl", b.ClusterID)
	}
	if len(fields) == 0 {
		return nil
	}
	return &core.Metadata{FilterMetadata: fields}
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

// stringStruct makes a struct of pairs of name and value.
func stringStruct(pairs ...string) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		s.Fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
	}
	return s
}
