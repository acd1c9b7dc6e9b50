package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// reachable derives the endpoints as clients meet them: one whose
// PeerAuthentication is DISABLE takes no mesh mTLS, though its proxy could, and
// a gRPC server that speaks xDS takes it where the mode is STRICT, for it cannot
// take both. Where no policy says so they are the mesh's own pointers.
func reachable(in *inputs) *memo.Derived[*model.Endpoints, *model.Endpoints] {
	guards := newPeerGuards(in)
	return memo.Map(in.graph, &in.endpoints.Cell, func(r *memo.Reader, host string, e *model.Endpoints) (*model.Endpoints, bool) {
		s, ok := memo.Get(r, &in.services.Cell, host)
		if !ok {
			return e, true
		}
		root := in.config(r).RootNamespace
		policies := guards.of(r, e, s.Namespace, root)
		if !slices.ContainsFunc(policies, disables) && !hasProxyless(e) {
			return e, true
		}
		return withModes(e, policies, s, root), true
	}, memo.Same(sameEndpoints))
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

func hasProxyless(e *model.Endpoints) bool {
	for _, port := range e.Ports {
		if slices.ContainsFunc(port.Endpoints, func(ep *model.Endpoint) bool { return ep.Proxyless }) {
			return true
		}
	}
	return false
}

// withModes copies e with MTLS as the modes of its endpoints, of service s, have
// it.
func withModes(e *model.Endpoints, policies []*model.PeerAuth, s *model.Service, root string) *model.Endpoints {
	out := &model.Endpoints{Host: e.Host, Identities: e.Identities}
	for _, port := range e.Ports {
		next := model.PortEndpoints{Port: port.Port}
		for _, ep := range port.Endpoints {
			mtls := ep.MTLS
			switch mode := modesFor(policies, ep.Labels, s.Namespace, root).of(ep.Port); {
			case ep.Proxyless:
				mtls = mode == model.MTLSStrict && servesGRPC(s, port.Port)
			case mode == model.MTLSDisable:
				mtls = false
			}
			if mtls != ep.MTLS {
				other := *ep
				other.MTLS = mtls
				ep = &other
			}
			next.Endpoints = append(next.Endpoints, ep)
		}
		out.Ports = append(out.Ports, next)
	}
	return out
}

// servesGRPC reports whether a port of a service is gRPC's, as declared.
func servesGRPC(s *model.Service, port uint32) bool {
	p, ok := s.Port(port)
	return ok && p.Protocol.IsHTTP2()
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
	mesh, ns, workload := ruling(policies, labels, namespace, root)
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

// older is the one of two objects that comes first by rank; a may be nil.
func older[T any](a, b *T, rank func(*T) string) *T {
	if a == nil || rank(b) < rank(a) {
		return b
	}
	return a
}

func peerAuthRank(p *model.PeerAuth) string { return p.Rank }
