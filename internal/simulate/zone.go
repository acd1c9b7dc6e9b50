package simulate

import (
	"slices"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	wrrlocality "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
)

// fellowCluster is the cluster of a bootstrap's local_cluster_name.
const fellowCluster = "local_cluster"

// Stand says where the proxy is: "REGION/ZONE/SUBZONE", of which the end may
// be left out.
func (c *Config) Stand(place string) { c.place = place }

func placeOf(l *core.Locality) string {
	return strings.TrimRight(l.GetRegion()+"/"+l.GetZone()+"/"+l.GetSubZone(), "/")
}

// zones gives a priority's localities, by index, their shares of its requests
// where Envoy routes by zone; nil: it does not, and all endpoints are alike.
//
// Source: "Zone aware routing" of Envoy's documentation.
func (c *Config) zones(cl *cluster.Cluster, part []member) map[int]float64 {
	fellows, all := count(c.endpoints[fellowCluster])
	config := cl.GetCommonLbConfig().GetZoneAwareLbConfig()
	disabled := config.GetRoutingEnabled() != nil && config.GetRoutingEnabled().GetValue() == 0
	hashed := cl.GetLbPolicy() == cluster.Cluster_RING_HASH || cl.GetLbPolicy() == cluster.Cluster_MAGLEV
	serving := slices.DeleteFunc(slices.Clone(part), func(m member) bool { return !m.serves })
	least := uint64(6)
	if config.GetMinClusterSize() != nil {
		least = config.GetMinClusterSize().GetValue()
	}
	if disabled || hashed || byWeight(cl) || cl.GetLoadBalancingPolicy() != nil || fellows[c.place] == 0 || uint64(len(serving)) < least || part[0].priority > 0 {
		return nil
	}
	upstream, places := map[int]float64{}, map[int]string{}
	for _, m := range serving {
		upstream[m.locality] += 1 / float64(len(serving))
		places[m.locality] = m.place
	}
	if len(upstream) < 2 {
		return nil
	}
	return divide(upstream, places, func(place string) float64 { return fellows[place] / all }, c.place)
}

// divide leaves requests in their zone as far as its part of the endpoints goes
// for its part of the clients; the rest goes where there is room left.
func divide(upstream map[int]float64, places map[int]string, clients func(place string) float64, own string) map[int]float64 {
	shares, room, left := map[int]float64{}, 0.0, 1.0
	for i, part := range upstream {
		if places[i] == own {
			shares[i] = min(1, part/clients(own))
			left -= shares[i]
		} else {
			room += max(0, part-clients(places[i]))
		}
	}
	for i, part := range upstream {
		if places[i] != own && room > 0 {
			shares[i] = left * max(0, part-clients(places[i])) / room
		}
	}
	return shares
}

// count gives the endpoints of each place, and of all.
func count(a *endpoint.ClusterLoadAssignment) (byPlace map[string]float64, all float64) {
	byPlace = map[string]float64{}
	for _, l := range a.GetEndpoints() {
		n := float64(len(l.GetLbEndpoints()))
		byPlace[placeOf(l.GetLocality())] += n
		all += n
	}
	return byPlace, all
}

// byWeight reports whether a cluster heeds the weights of localities.
func byWeight(cl *cluster.Cluster) bool {
	return cl.GetCommonLbConfig().GetLocalityWeightedLbConfig() != nil ||
		slices.ContainsFunc(cl.GetLoadBalancingPolicy().GetPolicies(), func(p *cluster.LoadBalancingPolicy_Policy) bool {
			return p.GetTypedExtensionConfig().GetTypedConfig().MessageIs(&wrrlocality.WrrLocality{})
		})
}
