package model

import "strings"

// Labels that stand for where a proxy or an endpoint is, as failoverPriority
// names them. A class of proxies has those that some policy asks for.
// Source: Istio, LocalityLoadBalancerSetting.failoverPriority.
const (
	LabelRegion  = "topology.kubernetes.io/region"
	LabelZone    = "topology.kubernetes.io/zone"
	LabelSubZone = "topology.istio.io/subzone"
	LabelNode    = "kubernetes.io/hostname"
	LabelCluster = "topology.istio.io/cluster"
	LabelNetwork = "topology.istio.io/network"
	// LabelLocality says where a pod is, in place of its Node: "REGION.ZONE.SUBZONE".
	LabelLocality = "istio-locality"
	// LabelTLSMode is "istio" on pods whose sidecar takes mutual TLS.
	LabelTLSMode = "security.istio.io/tlsMode"
)

// LocalityPolicy says which endpoints a client prefers by where they are.
// Source: Istio, LocalityLoadBalancerSetting; Kubernetes, trafficDistribution.
type LocalityPolicy struct {
	// Off: all endpoints are alike.
	Off bool
	// Distribute: the first whose From covers the client is in force.
	Distribute []Distribute
	Failover   []Failover
	// Priority are labels, the weightiest first: "KEY", of which client and
	// endpoint must have one value, or "KEY=VALUE" of the endpoint.
	Priority []string
	// Always: also where no outlier detection finds the endpoints that fail.
	Always bool
	// Zones: the client's region comes first, and within it requests stay in the
	// client's zone as far as its endpoints can bear the zone's clients; nil: no.
	Zones *ZoneAware
}

// ZoneAware is Envoy's zone-aware routing. It takes effect for proxies that
// discover their fellows. Source: Istio, ZoneAwareLoadBalancerSetting.
type ZoneAware struct {
	// MinHosts a cluster must have in the client's region; 0: Envoy's 6.
	MinHosts uint32
}

// Distribute gives the share of each locality for clients in From. Both are
// "REGION/ZONE/SUBZONE" that may end early or in "*".
type Distribute struct {
	From string
	To   []LocalityShare // sorted by To
}

// LocalityShare of requests, in percent.
type LocalityShare struct {
	To     string
	Weight uint32
}

// Failover names the region that takes over From's.
type Failover struct{ From, To string }

// Needs are the labels of a client that the policy asks for. Failover says
// whether its failover is in force: it has outlier detection.
func (p *LocalityPolicy) Needs(failover bool) (keys []string) {
	switch {
	case p == nil || p.Off:
	case len(p.Distribute) > 0:
		return p.distributes()
	case !failover && !p.Always:
	default:
		for _, label := range p.Priority {
			if key, _, fixed := strings.Cut(label, "="); !fixed {
				keys = append(keys, key)
			}
		}
		switch {
		case p.Zones != nil:
			keys = append(keys, LabelRegion)
		case len(p.Priority) == 0 || len(p.Failover) > 0:
			keys = append(keys, LabelRegion, LabelZone, LabelSubZone)
		}
	}
	return keys
}

// distributes are the labels by which some From tells clients apart.
func (p *LocalityPolicy) distributes() []string {
	deep := 0
	for _, d := range p.Distribute {
		for i, part := range strings.SplitN(d.From, "/", 3) {
			if part != "*" && part != "" {
				deep = max(deep, i+1)
			}
		}
	}
	return []string{LabelRegion, LabelZone, LabelSubZone}[:deep]
}

// Covers reports whether a pattern "REGION/ZONE/SUBZONE", which may end early
// or in "*", takes l.
func (l Locality) Covers(pattern string) bool {
	have := [...]string{l.Region, l.Zone, l.SubZone}
	for i, part := range strings.SplitN(pattern, "/", 3) {
		if part != "*" && part != "" && part != have[i] {
			return false
		}
	}
	return true
}

// String gives "REGION/ZONE/SUBZONE", without the parts that are not known.
func (l Locality) String() string {
	return strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.SubZone, "/")
}

// ParseLocality reads "REGION/ZONE/SUBZONE", or with "." between, as the label
// istio-locality has it.
func ParseLocality(text string) (l Locality) {
	if !strings.Contains(text, "/") {
		text = strings.ReplaceAll(text, ".", "/")
	}
	parts := append(strings.SplitN(text, "/", 3), "", "")
	return Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
}

// LocalityLabels are the labels that stand for a place; empty ones are absent.
func LocalityLabels(l Locality, node, cluster string) map[string]string {
	out := map[string]string{}
	for key, v := range map[string]string{LabelRegion: l.Region, LabelZone: l.Zone, LabelSubZone: l.SubZone, LabelNode: node, LabelCluster: cluster} {
		if v != "" {
			out[key] = v
		}
	}
	return out
}

// Group is some endpoints of an Assignment that are in one place and of one
// priority. Lower priorities are called first; Weight is the group's share
// among those of its priority, where the cluster weighs localities.
type Group struct {
	Locality  Locality
	Priority  uint32
	Weight    uint32
	Endpoints []*Endpoint
}
