package view

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// limits reads the Sidecar that limits what the proxy sees. limited is false
// for a proxy that has none; a Sidecar that has gone meanwhile is nil, and
// limits nothing until the proxy is put into another class.
func (in *inputs) limits(r *memo.Reader) (s *model.Sidecar, limited bool) {
	key, limited := memo.Get(r, &in.proxy.Cell, limitsKey)
	if !limited {
		return nil, false
	}
	s, _ = memo.Get(r, &in.sidecars.Cell, key)
	return s, true
}

// sidecar reads the Sidecar that holds for the proxy; nil: none.
func (in *inputs) sidecar(r *memo.Reader) *model.Sidecar {
	key, ok := memo.Get(r, &in.proxy.Cell, sidecarKey)
	if !ok {
		return nil
	}
	s, _ := memo.Get(r, &in.sidecars.Cell, key)
	return s
}

// part is a part of the mesh that a Sidecar with ReachNarrow names: a
// namespace, one host, or (neither) everything.
type part struct{ namespace, host string }

// parts derives what a narrow Sidecar names. A proxy without one names
// nothing: it is the common one that others are forked from.
func parts(in *inputs) *memo.Cell[part] {
	d := memo.Flat(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, _ *model.Settings, emit memo.Emit[part]) {
		s, limited := in.limits(r)
		switch {
		case !limited:
			return
		case s == nil || len(s.Egress) == 0:
			emit("", part{})
			return
		}
		for i := range s.Egress {
			for _, h := range s.Egress[i].Hosts {
				if !h.Excluded {
					p := in.partOf(r, h)
					emit(p.namespace+"/"+p.host, p)
				}
			}
		}
	})
	return &d.Cell
}

func (in *inputs) partOf(r *memo.Reader, h model.ScopeHost) part {
	switch exact := !strings.HasPrefix(h.Host, "*"); {
	case exact:
		return part{host: h.Host}
	case h.Namespace == "*":
		return part{}
	case h.Namespace == ".":
		return part{namespace: in.namespace(r)}
	}
	return part{namespace: h.Namespace}
}

// narrowServices derives the services of parts, as far as they are seen. They
// are found by an index that all classes share, so that a class holds only its
// own.
func narrowServices(in *inputs, of *memo.Cell[part]) *memo.Cell[*model.Service] {
	rivals := memo.Group(in.graph, &in.services.Cell, func(_ string, s *model.Service) []string {
		if !s.Rival {
			return nil
		}
		return []string{s.Host}
	})
	byNamespace := memo.Group(in.graph, &in.services.Cell, func(_ string, s *model.Service) []string { return []string{s.Namespace} })
	d := memo.Flat(in.graph, of, func(r *memo.Reader, _ string, p part, emit memo.Emit[*model.Service]) {
		each := func(s *model.Service) {
			if s, ok := in.seen(r, s); ok {
				emit(s.Key(), s)
			}
		}
		switch {
		case p.host != "":
			if s, ok := memo.Get(r, &in.services.Cell, p.host); ok {
				each(s)
			}
			more, _ := memo.Get(r, &rivals.Cell, p.host)
			for _, s := range more.All() {
				each(s)
			}
		case p.namespace != "":
			of, _ := memo.Get(r, &byNamespace.Cell, p.namespace)
			for _, s := range of.All() {
				each(s)
			}
		default:
			for _, s := range memo.All(r, &in.services.Cell).All() {
				each(s)
			}
		}
	}, memo.Same(sameService))
	return &settleRivals(in, &d.Cell).Cell
}

// narrowRouting derives the VirtualServices of parts that hold for sidecars.
func narrowRouting(in *inputs, of *memo.Cell[part]) *memo.Cell[*model.VirtualService] {
	byNamespace := memo.Group(in.graph, &in.virtualServices.Cell, func(_ string, vs *model.VirtualService) []string { return []string{vs.Namespace} })
	byHost := memo.Group(in.graph, &in.virtualServices.Cell, func(_ string, vs *model.VirtualService) []string { return hostKeys(vs.Hosts) })
	d := memo.Flat(in.graph, of, func(r *memo.Reader, _ string, p part, emit memo.Emit[*model.VirtualService]) {
		each := func(of memo.Table[*model.VirtualService]) {
			for key, vs := range of.All() {
				if in.routes(r, vs) {
					emit(key, vs)
				}
			}
		}
		switch {
		case p.host != "":
			exact, _ := memo.Get(r, &byHost.Cell, p.host)
			wide, _ := memo.Get(r, &byHost.Cell, wild)
			each(exact)
			each(wide)
		case p.namespace != "":
			own, _ := memo.Get(r, &byNamespace.Cell, p.namespace)
			each(own)
		default:
			each(memo.All(r, &in.virtualServices.Cell))
		}
	})
	return &d.Cell
}

// seen is a service as the proxy sees it: with those ports alone that its
// Sidecar lets through.
func (in *inputs) seen(r *memo.Reader, s *model.Service) (*model.Service, bool) {
	if !in.sees(r, s.ExportTo, s.Namespace) {
		return nil, false
	}
	sc, _ := in.limits(r)
	if sc == nil || len(sc.Egress) == 0 {
		return s, true
	}
	at := lookout{sidecar: sc, home: in.namespace(r)}
	out := *s
	out.Ports = nil
	changed := false
	for _, p := range s.Ports {
		next, ok := at.port(s, p)
		changed = changed || !ok || next != p
		if ok {
			out.Ports = append(out.Ports, next)
		}
	}
	switch {
	case len(out.Ports) == 0 && (len(s.Ports) > 0 || !at.sees(0, s.Namespace, s.Host)):
		return nil, false
	case !changed:
		return s, true
	}
	return &out, true
}

// routes reports whether a VirtualService holds for the sidecar.
func (in *inputs) routes(r *memo.Reader, vs *model.VirtualService) bool {
	if !slices.Contains(vs.Gateways, meshGateway) || !in.sees(r, vs.ExportTo, vs.Namespace) {
		return false
	}
	sc, _ := in.limits(r)
	if sc == nil || len(sc.Egress) == 0 {
		return true
	}
	at := lookout{sidecar: sc, home: in.namespace(r)}
	return slices.ContainsFunc(sc.Egress, func(l model.EgressListener) bool { return at.imports(&l, vs) })
}

// routesAt reports whether it does so on a port: a listener that names the port
// is the only one that counts there.
func (in *inputs) routesAt(r *memo.Reader, vs *model.VirtualService, port uint32) bool {
	sc, _ := in.limits(r)
	if sc == nil || len(sc.Egress) == 0 {
		return true
	}
	at := lookout{sidecar: sc, home: in.namespace(r)}
	return slices.ContainsFunc(at.listeners(port), func(l *model.EgressListener) bool { return at.imports(l, vs) })
}

// lookout is a Sidecar as a namespace has it.
type lookout struct {
	sidecar *model.Sidecar
	home    string
}

// listeners are those that count on a port: the one that names it, else those
// that name none.
// Source: istio.io/api networking/v1alpha3, IstioEgressListener.port.
func (at lookout) listeners(port uint32) (out []*model.EgressListener) {
	for i := range at.sidecar.Egress {
		if l := &at.sidecar.Egress[i]; port > 0 && l.Port == port {
			return []*model.EgressListener{l}
		} else if l.Port == 0 && !l.Bound {
			out = append(out, l)
		}
	}
	return out
}

// sees reports whether a host of a namespace is seen on a port.
func (at lookout) sees(port uint32, namespace, host string) bool {
	return slices.ContainsFunc(at.listeners(port), func(l *model.EgressListener) bool { return at.exposes(l, namespace, host) })
}

// port is a service's port as it is seen; a listener that names the port says
// what it speaks, and where it is listened on.
func (at lookout) port(s *model.Service, p model.Port) (model.Port, bool) {
	for _, l := range at.listeners(p.Number) {
		if !at.exposes(l, s.Namespace, s.Host) {
			continue
		}
		if l.Port > 0 {
			p.Elsewhere = l.Bind != ""
			if l.Protocol != model.ProtocolAuto {
				p.Protocol = l.Protocol
			}
		}
		return p, true
	}
	return p, false
}

// exposes reports whether a listener has a host of a namespace.
func (at lookout) exposes(l *model.EgressListener, namespace, host string) bool {
	return at.any(l, namespace, func(h string) bool { return covers(h, host) }, false) &&
		!at.any(l, namespace, func(h string) bool { return covers(h, host) }, true)
}

// imports reports whether a listener has a host of a VirtualService, or one
// that its hosts take a part of: as Istio does, in either direction.
func (at lookout) imports(l *model.EgressListener, vs *model.VirtualService) bool {
	return slices.ContainsFunc(vs.Hosts, func(host string) bool {
		return at.any(l, vs.Namespace, func(h string) bool { return covers(h, host) || covers(host, h) }, false) &&
			!at.any(l, vs.Namespace, func(h string) bool { return covers(h, host) }, true)
	})
}

func (at lookout) any(l *model.EgressListener, namespace string, match func(host string) bool, excluded bool) bool {
	return slices.ContainsFunc(l.Hosts, func(h model.ScopeHost) bool {
		in := h.Namespace == "*" || h.Namespace == namespace || h.Namespace == "." && at.home == namespace
		return in && h.Excluded == excluded && match(h.Host)
	})
}

// ledTo derives the services that the proxy's routes lead to though its
// Sidecar does not name them: their clusters are needed, and nothing else.
// Source: Istio, pilot/pkg/model/sidecar.go, collectImportedServices.
func ledTo(in *inputs, routing *memo.Cell[*model.VirtualService]) *memo.Cell[*model.Service] {
	d := memo.Flat(in.graph, routing, func(r *memo.Reader, _ string, vs *model.VirtualService, emit memo.Emit[*model.Service]) {
		if _, limited := in.limits(r); !limited {
			return // it sees them all
		}
		for _, host := range destinations(vs) {
			if s, ok := memo.Get(r, &in.services.Cell, host); ok && in.sees(r, s.ExportTo, s.Namespace) {
				emit(host, s)
			}
		}
	})
	return &d.Cell
}

// destinations are the hosts that a VirtualService's routes lead to, those of
// its delegates among them.
func destinations(vs *model.VirtualService) (out []string) {
	for _, route := range slices.Concat(vs.TLS, vs.TCP) {
		for _, d := range route.Destinations {
			out = append(out, d.Host)
		}
	}
	for _, route := range vs.HTTP {
		f, ok := route.Action.(*model.Forward)
		if !ok {
			continue
		}
		for _, d := range f.Destinations {
			out = append(out, d.Host)
		}
		for _, m := range f.Mirrors {
			out = append(out, m.Host)
		}
	}
	return out
}

// egressListeners derives those that a Sidecar puts at an address of its own:
// for HTTP by the port's route table, for bytes to the first service by host.
func egressListeners(in *inputs, services *memo.Cell[*model.Service], routes *sidecarHosts) *memo.Derived[memo.Table[*model.Service], *model.Listener] {
	byPort := memo.Group(in.graph, services, func(_ string, s *model.Service) (out []string) {
		for _, p := range s.Ports {
			if p.Elsewhere {
				out = append(out, tableName(p.Number))
			}
		}
		return out
	})
	return memo.Flat(in.graph, &byPort.Cell, func(r *memo.Reader, key string, of memo.Table[*model.Service], emit memo.Emit[*model.Listener]) {
		sc, _ := in.limits(r)
		if sc == nil {
			return
		}
		for i := range sc.Egress {
			l := &sc.Egress[i]
			for _, s := range of.All() {
				p, ok := s.Port(l.Port)
				if !ok || tableName(l.Port) != key || l.Bind == "" {
					continue
				}
				at := place{address: l.Bind, port: l.Port}
				first := bytesPiece(at, s, p, routes.toPort(r, s, p)).routed(routes.bytesRules(r, s, p))
				if p.Protocol.IsHTTP() {
					first = &piece{place: at, chains: []model.Chain{{HTTP: &model.HTTPChain{Table: key}}}}
				}
				own := assemble(listenerName(l.Bind, l.Port), []*piece{first}, func() string { cluster, _ := in.unknown(r); return cluster })
				own.Capture = !l.Bound
				emit(own.Name, own)
				break
			}
		}
	}, memo.Same(sameListener))
}

// unknown says where connections to unknown destinations go.
func (in *inputs) unknown(r *memo.Reader) (cluster string, f model.Fallback) {
	allow := in.config(r).OutboundAllowAny
	if s := in.sidecar(r); s != nil && s.Unknown != nil {
		allow = s.Unknown.AllowAny
		if p := s.Unknown.Proxy; p != nil && allow {
			return clustername.Of(p.Port, p.Subset, p.Host), model.FallbackPassthrough
		}
	}
	if allow {
		return passthroughCluster, model.FallbackPassthrough
	}
	return blackHoleCluster, model.FallbackBlackHole
}

// unknownHost says where requests for unknown hosts go.
func (in *inputs) unknownHost(r *memo.Reader) (cluster string, f model.Fallback) {
	cluster, f = in.unknown(r)
	if s := in.sidecar(r); in.config(r).OutboundAsked != nil && (s == nil || s.Unknown == nil) {
		return model.AskedCluster, f
	}
	return cluster, f
}

// unknownOf derives the cluster of unknownHost.
func unknownOf(in *inputs) *memo.Derived[*model.Settings, string] {
	return memo.Map(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, _ *model.Settings) (string, bool) {
		cluster, _ := in.unknownHost(r)
		return cluster, true
	})
}
