package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// names derives DNS answers: a service's addresses, or those of a headless
// service's healthy endpoints. An ExternalName has those of what it stands for.
func names(in *inputs, services *memo.Cell[*model.Service]) *memo.Derived[*model.Service, *model.Name] {
	return memo.Map(in.graph, services, func(r *memo.Reader, host string, s *model.Service) (*model.Name, bool) {
		if s.AliasOf != "" {
			if s, _ = memo.Get(r, services, s.AliasOf); s == nil {
				return nil, false
			}
		}
		n := &model.Name{Host: host, Addresses: slices.Clone(s.Addresses)}
		if s.Headless {
			all, _ := memo.Get(r, &in.endpoints.Cell, s.Key())
			n.Addresses = healthyAddresses(all)
		}
		slices.Sort(n.Addresses)
		n.Addresses = slices.Compact(n.Addresses)
		return n, len(n.Addresses) > 0
	}, memo.Same(sameName))
}

func healthyAddresses(all *model.Endpoints) (out []string) {
	if all == nil {
		return nil
	}
	for _, p := range all.Ports {
		for _, ep := range p.Endpoints {
			if ep.Health == model.Healthy {
				out = append(out, ep.Address)
			}
		}
	}
	return out
}
