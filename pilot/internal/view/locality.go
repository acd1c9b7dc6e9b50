package view

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// localityFor is what of locality load balancing is in force for a cluster:
// the rule's own setting, else the Service's, else the mesh's, whole; nil for
// nothing. Failover without outlier detection would never take place, so that
// it is left out. Source: Istio, LoadBalancerSettings.localityLbSetting and
// LocalityLoadBalancerSetting.failover.
func localityFor(s *model.Service, t model.Traffic, settings *model.Settings) *model.LocalityPolicy {
	p := settings.Locality
	if s.Locality != nil {
		p = s.Locality
	}
	if t.LB != nil && t.LB.Locality != nil {
		p = t.LB.Locality
	}
	if p == nil && t.Outlier != nil {
		p = defaultLocality
	}
	switch {
	case p == nil || p.Off:
		return nil
	case len(p.Distribute) > 0 || p.Always || t.Outlier != nil:
		return p
	}
	return nil
}

// defaultLocality is Istio's: failover by region, zone and subzone.
var defaultLocality = &model.LocalityPolicy{}

// label is the value of one of the proxy's labels, "" if it has none.
func (in *inputs) label(r *memo.Reader, key string) string {
	v, _ := memo.Get(r, &in.proxy.Cell, labelKey+key)
	return v
}

// place is where the proxy is.
func (in *inputs) place(r *memo.Reader) model.Locality {
	return model.Locality{Region: in.label(r, model.LabelRegion), Zone: in.label(r, model.LabelZone), SubZone: in.label(r, model.LabelSubZone)}
}

// groups puts endpoints into groups as p has it for this proxy.
func (in *inputs) groups(r *memo.Reader, p *model.LocalityPolicy, all []*model.Endpoint) []model.Group {
	groups := byPlace(all)
	if len(p.Distribute) > 0 {
		return distribute(groups, in.place(r), p.Distribute)
	}
	if len(p.Priority) > 0 {
		groups = in.byLabels(r, p.Priority, groups)
	}
	if p.Zones != nil {
		return regions(groups, in.label(r, model.LabelRegion), p.Failover)
	}
	if len(p.Priority) == 0 || len(p.Failover) > 0 {
		groups = failover(groups, in.place(r), p.Failover)
	}
	return groups
}

// byPlace groups endpoints by locality, in a fixed order.
func byPlace(all []*model.Endpoint) (out []model.Group) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b *model.Endpoint) int { return comparePlaces(a.Locality, b.Locality) })
	for i, ep := range all {
		if i == 0 || ep.Locality != all[i-1].Locality {
			out = append(out, model.Group{Locality: ep.Locality})
		}
		last := &out[len(out)-1]
		last.Endpoints = append(last.Endpoints, ep)
		last.Weight += max(ep.Weight, 1)
	}
	return out
}

func comparePlaces(a, b model.Locality) int {
	return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.SubZone, b.SubZone))
}

// shareScale is how finely a percentage can be divided among groups.
const shareScale = 1000

// distribute weighs the groups as the first entry says that is for the client;
// a place that it does not name gets nothing. Several groups that one name
// covers divide its share by the weights of their endpoints.
// Source: Istio, LocalityLoadBalancerSetting.Distribute.
func distribute(groups []model.Group, client model.Locality, entries []model.Distribute) (out []model.Group) {
	at := slices.IndexFunc(entries, func(d model.Distribute) bool { return client.Covers(d.From) })
	if at < 0 {
		return groups
	}
	out = []model.Group{} // none is not "all alike"
	for _, share := range entries[at].To {
		total := uint64(0)
		for _, g := range groups {
			if g.Locality.Covers(share.To) {
				total += uint64(g.Weight)
			}
		}
		for _, g := range groups {
			if g.Locality.Covers(share.To) {
				g.Weight = uint32(max(1, uint64(share.Weight)*shareScale*uint64(g.Weight)/total))
				out = append(out, g)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b model.Group) int { return comparePlaces(a.Locality, b.Locality) })
	return out
}

// byLabels gives endpoints the lower a priority the more labels, from the
// first on, they have as the client has them, or as the policy wants them.
// Endpoints of another network come after all others but are told apart alike.
// Source: Istio, LocalityLoadBalancerSetting.failoverPriority.
func (in *inputs) byLabels(r *memo.Reader, labels []string, groups []model.Group) (out []model.Group) {
	want := make([][2]string, len(labels))
	for i, label := range labels {
		key, value, fixed := strings.Cut(label, "=")
		if !fixed {
			value = in.label(r, key)
		}
		want[i] = [2]string{key, value}
	}
	cluster := in.config(r).ClusterID
	for _, g := range groups {
		parts := map[uint32]*model.Group{}
		for _, ep := range g.Endpoints {
			tier := labelTier(want, ep, cluster)
			if parts[tier] == nil {
				parts[tier] = &model.Group{Locality: g.Locality, Priority: tier}
			}
			parts[tier].Endpoints = append(parts[tier].Endpoints, ep)
			parts[tier].Weight += max(ep.Weight, 1)
		}
		for _, part := range parts {
			out = append(out, *part)
		}
	}
	return compact(out)
}

// labelTier is how far an endpoint is from what is wanted.
func labelTier(want [][2]string, ep *model.Endpoint, cluster string) (tier uint32) {
	place := model.LocalityLabels(ep.Locality, ep.Node, cluster)
	far := uint32(0)
	for i, w := range want {
		have, ok := place[w[0]]
		if !ok {
			have = ep.Labels[w[0]]
		}
		switch {
		case have == w[1]:
		case i == 0 && w[0] == model.LabelNetwork:
			far = uint32(len(want))
		default:
			return uint32(len(want)-i) + far
		}
	}
	return far
}

// failover puts each group into the tier of its place, within the priority
// that it has.
func failover(groups []model.Group, client model.Locality, rules []model.Failover) []model.Group {
	out := slices.Clone(groups)
	for i := range out {
		out[i].Priority = out[i].Priority*tiers + placeTier(out[i].Locality, client, rules)
	}
	return compact(out)
}

// regions puts each group into the tier of its region, within the priority that
// it has: the client's, that which takes over, the others. Zones are Envoy's part.
// Source: Istio, ZoneAwareLoadBalancerSetting.
func regions(groups []model.Group, client string, rules []model.Failover) []model.Group {
	out := slices.Clone(groups)
	for i := range out {
		tier := uint32(2)
		switch region := out[i].Locality.Region; {
		case region == client:
			tier = 0
		case slices.Contains(rules, model.Failover{From: client, To: region}):
			tier = 1
		}
		out[i].Priority = out[i].Priority*3 + tier
	}
	return compact(out)
}

// tiers is how many there are: those of placeTier.
const tiers = 5

// placeTier: the client's subzone, zone and region, then the region that takes
// over, then the others. A client that does not know where it is has no
// favourites. Source: Istio, "Locality Load Balancing".
func placeTier(l, client model.Locality, rules []model.Failover) uint32 {
	switch {
	case client == model.Locality{} || l == client:
		return 0
	case l.Region == client.Region && l.Zone == client.Zone:
		return 1
	case l.Region == client.Region:
		return 2
	case takesOver(client.Region, l.Region, rules):
		return 3
	}
	return 4
}

// takesOver reports whether region is the one that takes over; any does where
// no rule is for the client's.
func takesOver(client, region string, rules []model.Failover) bool {
	at := slices.IndexFunc(rules, func(f model.Failover) bool { return f.From == client })
	return at < 0 || rules[at].To == region
}

// compact numbers the priorities from 0 on without a gap, which Envoy demands,
// and orders the groups by them.
func compact(groups []model.Group) []model.Group {
	slices.SortStableFunc(groups, func(a, b model.Group) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), comparePlaces(a.Locality, b.Locality))
	})
	next, last := uint32(0), uint32(0)
	for i := range groups {
		p := groups[i].Priority
		if i > 0 && p != last {
			next++
		}
		last, groups[i].Priority = p, next
	}
	return groups
}
