package simulate

import (
	"slices"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// member is an endpoint of a cluster: where it stands, and whether it may be
// called.
type member struct {
	Target
	priority int
	locality int // an index of all localities
	place    string
	weight   float64
	serves   bool
}

// membersOf lists the endpoints of an assignment; how says how each is spoken
// to.
func membersOf(a *endpoint.ClusterLoadAssignment, how func(*endpoint.LbEndpoint) (Target, error)) (all []member, err error) {
	for i, l := range a.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			m := member{priority: int(l.GetPriority()), locality: i, place: placeOf(l.GetLocality()), weight: float64(l.GetLoadBalancingWeight().GetValue())}
			switch e.GetHealthStatus() {
			case core.HealthStatus_UNKNOWN, core.HealthStatus_HEALTHY, core.HealthStatus_DEGRADED:
				m.serves = true
			}
			if m.Target, err = how(e); err != nil {
				return nil, err
			}
			all = append(all, m)
		}
	}
	return all, nil
}

// overprovisioning: so much more than its part a priority, or a locality, can
// take while some of its endpoints are out.
const overprovisioning = 1.4

// shared gives the endpoints that get requests, each with its share.
// Source: "Priority levels", "Panic threshold" and "Locality weighted load
// balancing" of Envoy's documentation.
func (c *Config) shared(cl *cluster.Cluster, all []member) (out []Target) {
	panics := 50.0
	if threshold := cl.GetCommonLbConfig().GetHealthyPanicThreshold(); threshold != nil {
		panics = threshold.GetValue()
	}
	last := 0
	for _, m := range all {
		last = max(last, m.priority)
	}
	parts := make([][]member, last+1)
	for _, m := range all {
		parts[m.priority] = append(parts[m.priority], m)
	}
	health := 0.0
	for _, part := range parts {
		health += availability(part)
	}
	left := 1.0
	for i, part := range parts {
		load := 0.0
		switch {
		case health > 0:
			load = min(left, availability(part)/min(1, health))
		case i == 0 || panics > 0:
			load = left * float64(len(part)) / float64(len(all))
		}
		left -= load
		if health < 1 && 100*fraction(part) < panics {
			for j := range part {
				part[j].serves = true
			}
		}
		out = append(out, c.spreadLoad(cl, part, load)...)
	}
	return normal(out)
}

// fraction of some endpoints that may be called.
func fraction(part []member) float64 {
	serving := 0
	for _, m := range part {
		if m.serves {
			serving++
		}
	}
	return float64(serving) / float64(max(1, len(part)))
}

// availability is how much of all requests a priority or locality can take.
func availability(part []member) float64 { return min(1, overprovisioning*fraction(part)) }

// spreadLoad divides a priority's load: by the weights of localities where the
// cluster heeds them, by zones where Envoy knows them, else evenly.
func (c *Config) spreadLoad(cl *cluster.Cluster, part []member, load float64) (out []Target) {
	zones := c.zones(cl, part)
	groups := map[int][]member{}
	var order []int
	for _, m := range part {
		key := 0
		if zones != nil || byWeight(cl) {
			key = m.locality
		}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], m)
	}
	total := 0.0
	weight := func(g []member) float64 {
		if len(groups) == 1 {
			return 1
		}
		if zones != nil {
			return zones[g[0].locality]
		}
		return g[0].weight * availability(g)
	}
	for _, key := range order {
		total += weight(groups[key])
	}
	for _, key := range order {
		g := groups[key]
		serving := slices.DeleteFunc(slices.Clone(g), func(m member) bool { return !m.serves })
		for _, m := range serving {
			if m.Share = load * weight(g) / total / float64(len(serving)); m.Share > 0 {
				out = append(out, m.Target)
			}
		}
	}
	return out
}

// normal makes the shares sum to 1.
func normal(all []Target) []Target {
	total := 0.0
	for _, t := range all {
		total += t.Share
	}
	out := slices.Clone(all)
	for i := range out {
		out[i].Share /= total
	}
	return out
}

// uneven reports whether the shares differ.
func uneven(all []Target) bool {
	return slices.ContainsFunc(all, func(t Target) bool { return t.Share < all[0].Share*0.999 || t.Share > all[0].Share*1.001 })
}
