package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// reachable derives the endpoints as clients meet them: one whose
// PeerAuthentication is DISABLE takes no mesh mTLS, though its proxy could.
// Where no policy says so they are the mesh's own pointers.
func reachable(in *inputs) *memo.Derived[*model.Endpoints, *model.Endpoints] {
	byNamespace := memo.Group(in.graph, &in.peerAuth.Cell, func(_ string, p *model.PeerAuth) []string { return []string{p.Namespace} })
	return memo.Map(in.graph, &in.endpoints.Cell, func(r *memo.Reader, host string, e *model.Endpoints) (*model.Endpoints, bool) {
		s, ok := memo.Get(r, &in.services.Cell, host)
		if !ok {
			return e, true
		}
		root := in.config(r).RootNamespace
		own, _ := memo.Get(r, &byNamespace.Cell, s.Namespace)
		mesh, _ := memo.Get(r, &byNamespace.Cell, root)
		policies := applying(own, mesh, s.Namespace)
		if !slices.ContainsFunc(policies, disables) {
			return e, true
		}
		return withModes(e, policies, s.Namespace, root), true
	}, memo.Same(sameEndpoints))
}

// applying are the policies that may hold for a pod of the namespace.
func applying(own, mesh memo.Table[*model.PeerAuth], namespace string) (out []*model.PeerAuth) {
	for _, p := range own.All() {
		out = append(out, p)
	}
	for _, p := range mesh.All() {
		if p.Namespace != namespace && len(p.Selector) == 0 {
			out = append(out, p)
		}
	}
	return out
}

func disables(p *model.PeerAuth) bool {
	if p.Mode != nil && *p.Mode == model.MTLSDisable {
		return true
	}
	for _, mode := range p.Ports {
		if mode == model.MTLSDisable {
			return true
		}
	}
	return false
}

// withModes copies e with MTLS taken from endpoints whose mode is DISABLE.
func withModes(e *model.Endpoints, policies []*model.PeerAuth, namespace, root string) *model.Endpoints {
	out := &model.Endpoints{Host: e.Host, Identities: e.Identities}
	for _, port := range e.Ports {
		next := model.PortEndpoints{Port: port.Port}
		for _, ep := range port.Endpoints {
			if ep.MTLS && modesFor(policies, ep.Labels, namespace, root).of(ep.Port) == model.MTLSDisable {
				plain := *ep
				plain.MTLS = false
				ep = &plain
			}
			next.Endpoints = append(next.Endpoints, ep)
		}
		out.Ports = append(out.Ports, next)
	}
	return out
}

// MTLSMode is what the proxy of a workload takes at one of its ports.
func MTLSMode(mesh *model.Mesh, w *model.Workload, port uint32) model.MTLSMode {
	var all []*model.PeerAuth
	for _, p := range mesh.PeerAuth.All() {
		all = append(all, p)
	}
	return modesFor(all, w.Labels, w.Namespace, mesh.Settings.RootNamespace).of(port)
}

// modes are the mTLS modes of a workload.
type modes struct {
	workload model.MTLSMode
	ports    map[uint32]model.MTLSMode
	policies []model.Origin // that they come from
}

func (m modes) of(port uint32) model.MTLSMode {
	if mode, ok := m.ports[port]; ok {
		return mode
	}
	return m.workload
}

// modesFor applies Istio's precedence to a workload: its own policy, then the
// namespace's, then the mesh's, the oldest of each; ports are read from the
// workload's alone.
func modesFor(policies []*model.PeerAuth, labels map[string]string, namespace, root string) modes {
	var mesh, ns, workload *model.PeerAuth
	for _, p := range policies {
		switch {
		case len(p.Selector) > 0:
			if p.Namespace == namespace && selects(p.Selector, labels) {
				workload = older(workload, p)
			}
		case p.Namespace == root:
			mesh = older(mesh, p)
		case p.Namespace == namespace:
			ns = older(ns, p)
		}
	}
	m := modes{}
	for _, p := range []*model.PeerAuth{mesh, ns, workload} {
		if p == nil {
			continue
		}
		if m.policies = append(m.policies, p.Origin); p.Mode != nil {
			m.workload = *p.Mode
		}
	}
	if workload != nil {
		m.ports = workload.Ports
	}
	return m
}

func older(a, b *model.PeerAuth) *model.PeerAuth {
	if a == nil || b.Rank < a.Rank {
		return b
	}
	return a
}
