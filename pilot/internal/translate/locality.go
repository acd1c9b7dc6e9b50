package translate

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wrrlocality "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// localities says what the weights of localities are for. Only where a policy
// gives them a meaning are they heeded: else LEAST_REQUEST would be one by
// locality. Envoy's own zone-aware routing is its default, and without effect
// until the proxy knows its fellows: with self-discovery it is off but where a
// policy asks for it, as Istio documents MeshConfig.zoneAwareLbSetting.
// Source: envoy.config.cluster.v3.Cluster.CommonLbConfig.
func (b *builder) localities(out *cluster.Cluster, p *model.LocalityPolicy) {
	weighted := p != nil && p.Zones == nil && len(p.Distribute)+len(p.Failover)+len(p.Priority) > 0
	if out.GetLoadBalancingPolicy() != nil { // Envoy takes none of those below beside one
		if weighted {
			b.byLocality(out)
		}
		return
	}
	switch {
	case p != nil && p.Zones != nil:
		zoned := &cluster.Cluster_CommonLbConfig_ZoneAwareLbConfig{}
		if n := p.Zones.MinHosts; n > 0 {
			zoned.MinClusterSize = wrapperspb.UInt64(uint64(n))
		}
		byZone(out, zoned)
	case weighted:
		out.CommonLbConfig.LocalityConfigSpecifier = &cluster.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &cluster.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	case b.class.SelfDiscovery:
		byZone(out, &cluster.Cluster_CommonLbConfig_ZoneAwareLbConfig{RoutingEnabled: &xtype.Percent{}})
	}
}

func byZone(out *cluster.Cluster, zoned *cluster.Cluster_CommonLbConfig_ZoneAwareLbConfig) {
	if out.CommonLbConfig == nil {
		out.CommonLbConfig = &cluster.Cluster_CommonLbConfig{}
	}
	out.CommonLbConfig.LocalityConfigSpecifier = &cluster.Cluster_CommonLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: zoned}
}

// byLocality makes a typed policy choose the locality by its weight first.
// Source: envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality.
func (b *builder) byLocality(out *cluster.Cluster) {
	out.LoadBalancingPolicy = typedPolicy("envoy.load_balancing_policies.wrr_locality", b.pack(&wrrlocality.WrrLocality{EndpointPickingPolicy: out.GetLoadBalancingPolicy()}))
}

func typedPolicy(name string, config *anypb.Any) *cluster.LoadBalancingPolicy {
	return &cluster.LoadBalancingPolicy{Policies: []*cluster.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &core.TypedExtensionConfig{Name: name, TypedConfig: config},
	}}}
}
