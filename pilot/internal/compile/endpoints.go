package compile

import (
	"cmp"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
)

// slice is one compiled EndpointSlice. A service's slices are joined later, so
// that a changed slice costs no more than itself.
type slice struct {
	key   string // of the object
	host  string // of its service
	ports []slicePort
}

// slicePort is one port of a slice; name says which service port it is for.
type slicePort struct {
	name      string
	number    uint32
	endpoints []*model.Endpoint
}

// compileSlice reads one EndpointSlice with the pods behind it.
//
// Source: Kubernetes discovery/v1 EndpointSlice. Endpoints that are not ready
// are left out; those that terminate but still serve are draining.
func compileSlice(o *config.Object, in scope, d *diag.List) *slice {
	es, ok := o.Spec.(*discovery.EndpointSlice)
	name := o.Labels[discovery.LabelServiceName]
	if !ok || name == "" {
		return nil
	}
	out := &slice{key: o.Key(), host: hostname.Service(name, o.Namespace, in.settings().ClusterDomain)}
	if es.AddressType == discovery.AddressTypeFQDN {
		d.Add(diag.LeftOut, "addressType", "FQDN addresses cannot be endpoints")
		return nil
	}
	hosts := sliceHosts(o, es, in, d)
	for i := range es.Ports {
		p := &es.Ports[i]
		if p.Port == nil || *p.Port < 1 || *p.Port > 65535 || p.Protocol != nil && *p.Protocol == core.ProtocolUDP {
			continue
		}
		port := slicePort{number: uint32(*p.Port)}
		if p.Name != nil {
			port.name = *p.Name
		}
		for _, host := range hosts {
			ep := host
			ep.Port = uint32(*p.Port)
			port.endpoints = append(port.endpoints, &ep)
		}
		out.ports = append(out.ports, port)
	}
	return out
}

// sliceHosts gives the slice's usable endpoints without a port.
func sliceHosts(o *config.Object, es *discovery.EndpointSlice, in scope, d *diag.List) (out []model.Endpoint) {
	for i := range es.Endpoints {
		e := &es.Endpoints[i]
		health := endpointHealth(e.Conditions)
		if health == model.Unhealthy {
			continue
		}
		base := model.Endpoint{Health: health, Weight: 1, Namespace: o.Namespace}
		if e.TargetRef != nil && e.TargetRef.Kind == "Pod" && !describe(&base, in, o.Namespace, e.TargetRef.Name) {
			continue
		}
		if e.Zone != nil && base.Locality.Zone == "" {
			base.Locality.Zone = *e.Zone
		}
		for j, text := range e.Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				d.Add(diag.LeftOut, diag.Path("endpoints").Index(i).Field("addresses").Index(j), "%q is not an IP address", text)
				continue
			}
			ep := base
			ep.Address = addr.String()
			out = append(out, ep)
		}
	}
	return out
}

func endpointHealth(c discovery.EndpointConditions) model.Health {
	ready := c.Ready == nil || *c.Ready
	serving := ready
	if c.Serving != nil {
		serving = *c.Serving
	}
	terminating := c.Terminating != nil && *c.Terminating
	switch {
	case terminating && serving:
		return model.Draining
	case ready && !terminating:
		return model.Healthy
	}
	return model.Unhealthy
}

// joinSlices gives a service's endpoints by port, each address once. To those
// of its slices come the WorkloadEntries that it selects.
func joinSlices(s *model.Service, parts memo.Table[*slice], selected memo.Table[*outsider]) (*model.Endpoints, bool) {
	if s.Resolve != model.ResolveEndpoints || parts.Len()+selected.Len() == 0 {
		return nil, false
	}
	out := &model.Endpoints{Host: s.Host}
	for _, p := range s.Ports {
		if p.Protocol == model.ProtocolUDP {
			continue
		}
		var all []*model.Endpoint
		for _, part := range parts.All() {
			for _, sp := range part.of(s, p) {
				all = append(all, sp.endpoints...)
			}
		}
		for _, w := range selected.All() {
			if w.kind == byIP { // Kubernetes has no others (Istio)
				all = append(all, w.at(p, cmp.Or(p.TargetName, p.Name))...)
			}
		}
		if all = sortEndpoints(all); len(all) > 0 {
			out.Ports = append(out.Ports, model.PortEndpoints{Port: p.Number, Endpoints: all})
		}
	}
	out.Identities = identities(out.Ports)
	return out, true
}

// of gives the slice's ports for a port of its service: those with its name.
// When a service's port is renamed its slices follow a moment later; until
// then a slice's port whose name the service no longer has is known by the
// number, so that there is no moment without endpoints.
func (s *slice) of(service *model.Service, p model.Port) (out []slicePort) {
	for _, sp := range s.ports {
		if sp.name == p.Name {
			out = append(out, sp)
		}
	}
	if len(out) > 0 || p.Target == 0 {
		return out
	}
	for _, sp := range s.ports {
		old := !slices.ContainsFunc(service.Ports, func(q model.Port) bool { return q.Name == sp.name })
		if old && sp.number == p.Target {
			out = append(out, sp)
		}
	}
	return out
}

// sortEndpoints orders by address and port and keeps one of each: while a pod
// moves between slices both may name it, and the healthier one is right.
func sortEndpoints(all []*model.Endpoint) []*model.Endpoint {
	slices.SortStableFunc(all, func(a, b *model.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Health, b.Health))
	})
	return slices.CompactFunc(all, func(a, b *model.Endpoint) bool { return a.Address == b.Address && a.Port == b.Port })
}

func identities(ports []model.PortEndpoints) (out []string) {
	for _, p := range ports {
		for _, e := range p.Endpoints {
			if e.Identity != "" {
				out = append(out, e.Identity)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// describe fills in what is known of the pod behind an endpoint. It reports
// whether the endpoint may be called: not while its Pod has yet to come, for
// without it nobody could tell that the call must be mTLS, and to whom (Istio
// leaves such an endpoint out too). A folder without any Pod will get none, so
// that there the slices stand for themselves.
func describe(ep *model.Endpoint, in scope, namespace, pod string) bool {
	w := in.workload(namespace + "/" + pod)
	ep.Pod = pod
	if w == nil {
		return !in.hasPods()
	}
	ep.MTLS, ep.Proxyless, ep.Locality, ep.Labels, ep.Node = w.InMesh, w.Proxyless, w.Locality, w.Labels, w.Node
	ep.Workload, ep.App, ep.Version = w.Controller, w.App, w.Version
	if id, err := spiffe.New(in.settings().TrustDomain, w.Namespace, w.ServiceAccount); err == nil {
		ep.Identity = id.String()
	}
	return true
}
