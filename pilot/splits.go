package pilot

import (
	"slices"
	"strconv"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
)

// Split is a route of a VirtualService that shares requests or connections among
// several destinations, as a canary does.
type Split struct {
	Namespace, Name string // of the VirtualService
	Hosts           []string
	Gateways        []string // "mesh", or NAMESPACE/NAME
	Protocol        string   // http, tls, tcp
	Route           string   // its name, or its place in the object: "1", "2", ...
	Destinations    []SplitDestination
}

// SplitDestination is one of a split.
type SplitDestination struct {
	Host               string // fully qualified
	Service, Namespace string // of the host; Service is the host where there is no such Service
	Subset             string
	Share              float64  // that the object asks for, 0..1
	Workloads          []string // of Namespace, sorted: owners of the pods that it means
}

// Splits are those of all VirtualServices, by namespace, name and place. It has
// no effect.
func Splits(set config.Set) (out []Split) {
	d := describer{set: set, mesh: compile.Mesh(set).Mesh}
	for _, v := range d.mesh.VirtualServices.All() {
		split := func(protocol, route string, to []model.Destination) {
			if len(to) > 1 {
				out = append(out, Split{v.Namespace, v.Name, v.Hosts, v.Gateways, protocol, route, d.shares(v.Namespace, to)})
			}
		}
		var last model.Action
		place := 0
		for _, r := range v.HTTP {
			if r.Action == last { // another match of the same route
				continue
			}
			last = r.Action
			if f, ok := r.Action.(*model.Forward); ok {
				split("http", nameOr(r.Name, place), f.Destinations)
			}
			place++
		}
		for i, r := range v.TLS {
			split("tls", nameOr("", i), r.Destinations)
		}
		for i, r := range v.TCP {
			split("tcp", nameOr("", i), r.Destinations)
		}
	}
	return out
}

func nameOr(name string, index int) string {
	if name == "" {
		return strconv.Itoa(index + 1)
	}
	return name
}

// shares are what destinations get of a route's requests, as a client in a
// namespace sees their subsets.
func (d *describer) shares(namespace string, to []model.Destination) (out []SplitDestination) {
	sum := 0.0
	for _, t := range to {
		sum += float64(t.Weight)
	}
	for _, t := range to {
		one := SplitDestination{Host: t.Host, Service: t.Host, Namespace: "unknown", Subset: t.Subset}
		if sum > 0 {
			one.Share = float64(t.Weight) / sum
		}
		if s, ok := d.mesh.Services.Get(t.Host); ok {
			one.Service, one.Namespace = s.Name, s.Namespace
			one.Workloads = d.members(s, namespace, t.Subset)
		}
		out = append(out, one)
	}
	return out
}

// members are the owners of the pods of a service that are in a subset.
func (d *describer) members(s *model.Service, client, subset string) []string {
	var labels map[string]string
	if subset != "" {
		of, there := d.subsetLabels(s, client, subset)
		if !there {
			return nil
		}
		labels = of
	}
	var out []string
	for _, w := range d.selected(s) {
		if model.Selects(labels, w.Labels) {
			out = append(out, w.Controller)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// subsetLabels are those of a subset: by a DestinationRule of the client's
// namespace before the service's before another; none are all pods. False: no rule
// has it.
func (d *describer) subsetLabels(s *model.Service, client, subset string) (labels map[string]string, there bool) {
	best := 0
	for _, p := range d.mesh.Policies.All() {
		rank := 1
		switch p.Namespace {
		case client:
			rank = 3
		case s.Namespace:
			rank = 2
		}
		if rank <= best || !hostname.Covers(p.Host, s.Host) {
			continue
		}
		for _, one := range p.Subsets {
			if one.Name == subset {
				labels, best, there = one.Labels, rank, true
			}
		}
	}
	return labels, there
}
