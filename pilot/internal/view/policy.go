package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// effective is the DestinationRule that holds for one service: those of one
// namespace and host merged, as Istio does.
type effective struct {
	origin  model.Origin
	traffic model.PortTraffic
	subsets []model.Subset
	// selecting: the rule has a workloadSelector.
	selecting bool
}

// subset returns a subset's settings for a port: its own over the rule's, and
// a port's own settings wholly in place of both (Istio, portLevelSettings).
func (e *effective) forPort(port uint32, subset *model.Subset) model.Traffic {
	if e == nil {
		return model.Traffic{}
	}
	base, _ := e.traffic.For(port)
	if subset == nil {
		return base
	}
	own, override := subset.For(port)
	if override {
		return own.Whole(base)
	}
	return base.Merge(own)
}

// traffic is forPort over what the mesh has where no rule says anything
// (MeshConfig.defaultTrafficPolicy).
func (in *inputs) traffic(r *memo.Reader, e *effective, port uint32, subset *model.Subset) model.Traffic {
	return in.config(r).Defaults.Traffic.Merge(e.forPort(port, subset))
}

// tunnel is that of connections to one destination: a subset's own, as in Istio.
func (e *effective) tunnel(subset string) *model.Tunnel {
	if subset == "" && e != nil {
		return e.traffic.Tunnel
	}
	if s := e.named(subset); s != nil {
		return s.Tunnel
	}
	return nil
}

func (e *effective) named(subset string) *model.Subset {
	if e == nil {
		return nil
	}
	for i := range e.subsets {
		if e.subsets[i].Name == subset {
			return &e.subsets[i]
		}
	}
	return nil
}

// policies derives the rule of each visible service, of those rules that are
// heeded. Istio looks in the client's namespace, the service's, and the root
// namespace.
func policies(in *inputs, services *memo.Cell[*model.Service], heeds func(*memo.Reader, *model.Policy) bool) *memo.Derived[*model.Service, *effective] {
	// The index asks nothing about the proxy, so that all classes share it.
	byHost := memo.Group(in.graph, &in.policies.Cell, func(_ string, p *model.Policy) []string { return hostKeys([]string{p.Host}) })
	return memo.Map(in.graph, services, func(r *memo.Reader, host string, s *model.Service) (*effective, bool) {
		found := slices.DeleteFunc(covering(r, byHost, s.Host), func(p *model.Policy) bool { return !heeds(r, p) })
		root := in.config(r).RootNamespace
		for _, p := range found {
			// A client in the root namespace asks the service's first, since the
			// root's rules are for the whole mesh.
			if p.Namespace != root && in.home(r, p.Namespace) {
				return choose(found, p.Namespace), true
			}
		}
		e := choose(found, s.Namespace, root)
		return e, e != nil
	}, memo.Same(sameEffective))
}

// heeds reports whether a rule is for the proxy as a client.
func (in *inputs) heeds(r *memo.Reader, p *model.Policy) bool {
	return in.sees(r, p.ExportTo, p.Namespace) && (p.Selector == nil || in.home(r, p.Namespace) && in.selected(r, p.Selector))
}

// heedsServing reports whether a rule is for the proxy as a server: those that
// select workloads are for clients alone (Istio, SidecarScope.DestinationRule).
func (in *inputs) heedsServing(r *memo.Reader, p *model.Policy) bool {
	return p.Selector == nil && in.heeds(r, p)
}

// covering are the rules for a host: those that name it, then those whose
// wildcard covers it, each by rank.
func covering(r *memo.Reader, byHost *memo.Grouped[*model.Policy], host string) []*model.Policy {
	found := members(r, byHost, host, policyRank)
	for _, p := range members(r, byHost, wild, policyRank) {
		if covers(p.Host, host) {
			found = append(found, p)
		}
	}
	return found
}

// choose merges the rules of the first namespace that has any, those of its
// most specific host. found is ordered by rank, exact hosts first.
func choose(found []*model.Policy, namespaces ...string) *effective {
	for _, ns := range namespaces {
		host := ""
		for _, p := range found {
			if p.Namespace == ns && moreSpecific(p.Host, host) {
				host = p.Host
			}
		}
		if host != "" {
			return mergePolicies(found, ns, host)
		}
	}
	return nil
}

func moreSpecific(host, than string) bool {
	if than == "" {
		return true
	}
	exact, thanExact := host[0] != '*', than[0] != '*'
	if exact != thanExact {
		return exact
	}
	return len(host) > len(than)
}

func mergePolicies(found []*model.Policy, ns, host string) *effective {
	var e *effective
	for _, selecting := range []bool{true, false} {
		for _, p := range found {
			if p.Namespace != ns || p.Host != host || (p.Selector != nil) != selecting {
				continue
			}
			if e == nil {
				e = &effective{origin: p.Origin, traffic: p.Traffic, subsets: p.Subsets, selecting: selecting}
				continue
			}
			e.add(p)
		}
		if e != nil {
			return e // rules that select the workload stand alone
		}
	}
	return e
}

// add takes the subsets that are new, and the traffic policy if there is none.
func (e *effective) add(p *model.Policy) {
	if e.traffic.Empty() {
		e.traffic = p.Traffic
	}
	e.subsets = slices.Clone(e.subsets)
	for _, s := range p.Subsets {
		if e.named(s.Name) == nil {
			e.subsets = append(e.subsets, s)
		}
	}
}
