package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// passing is a VirtualService of which a server takes tls or tcp routes.
type passing struct {
	server *served
	vs     *model.VirtualService
}

// routerListeners derives one listener for each address and port. The first
// server says whether the port is HTTP, TLS or TCP; servers of other kinds are
// left out. Of the servers that take one server name the first has it.
func routerListeners(d *routerDoors, byPort *memo.Grouped[*served]) *memo.Derived[memo.Table[*served], *model.Listener] {
	return memo.Map(d.hosts.in.graph, &byPort.Cell, func(r *memo.Reader, name string, all memo.Table[*served]) (*model.Listener, bool) {
		var l *model.Listener
		var rules []bytesRule
		kind := ""
		for _, s := range all.All() {
			of := d.rules(r, s)
			if len(of) == 0 {
				continue
			}
			if l == nil {
				l, kind = &model.Listener{Name: name, Address: bindOf(s), Port: s.listen}, serverKind(s)
			}
			if serverKind(s) != kind {
				continue
			}
			if o := s.gateway.Origin; !slices.Contains(l.Gateways, o) {
				l.Gateways = append(l.Gateways, o)
			}
			rules = append(rules, of...)
			if kind == "HTTP" && s.Protocol == model.ProtocolGRPCWeb {
				rules[0].chain.HTTP.GRPCWeb = true // plaintext servers share one chain
			}
		}
		if l == nil {
			return nil, false
		}
		l.Chains = bytesChains(rules)
		return l, true
	}, memo.Same(sameListener))
}

// routerDoors are what the listeners of a gateway's proxy are made of.
type routerDoors struct {
	hosts  *routerHosts
	passed *memo.Cell[*model.Cluster]
	routed *memo.Grouped[*passing]
	asked  *memo.Cell[bool] // by route table
}

// serverKind of a server: only servers of one kind can share a port.
func serverKind(s *served) string {
	switch {
	case s.Protocol.IsHTTP():
		return "HTTP"
	case s.Protocol == model.ProtocolTLS && s.TLS != nil:
		return "TLS"
	}
	return "TCP"
}

// passing derives the VirtualServices of each server that has no route table,
// by the server's key; a group is in the order of their rank.
func (h *routerHosts) passing() *memo.Grouped[*passing] {
	g := h.in.graph
	byGateway := memo.Group(g, &h.servers.Cell, func(_ string, s *served) []string { return nonEmpty(s.bytesGateway()) })
	bound := memo.Flat(g, &h.in.virtualServices.Cell, func(r *memo.Reader, key string, vs *model.VirtualService, emit memo.Emit[*passing]) {
		if len(vs.TLS)+len(vs.TCP) == 0 || !h.in.sees(r, vs.ExportTo, vs.Namespace) {
			return
		}
		for _, gw := range vs.Gateways {
			servers, _ := memo.Get(r, &byGateway.Cell, gw)
			for server, s := range servers.All() {
				if len(sharedHosts(vs, s)) > 0 {
					emit(server+"\x00"+vs.Rank+"\x00"+key, &passing{server: s, vs: vs})
				}
			}
		}
	}, memo.Same(func(a, b *passing) bool { return *a == *b }))
	return memo.Group(g, &bound.Cell, func(_ string, p *passing) []string { return []string{p.server.key} })
}

// bytesGateway is the key of the server's Gateway, if it passes bytes on.
func (s *served) bytesGateway() string {
	if s.RouteTable != "" || s.auto() {
		return ""
	}
	return s.gateway.Key()
}

// rules are the filter chains of a server: to its route table, to the cluster
// that the server name says, or those of the tls routes (where TLS is passed
// through) or tcp routes of its VirtualServices.
func (d *routerDoors) rules(r *memo.Reader, s *served) (out []bytesRule) {
	base := bytesRule{}
	if serverKind(s) == "TLS" {
		base.names, base.owner = serverNames(s), serverNames(s)
	}
	switch {
	case s.auto():
		base.names = passedNames(r, d.passed, s)
		base.owner, base.chain.ByServerName = base.names, true
		if len(base.names) == 0 {
			return nil
		}
		return []bytesRule{base}
	case terminates(s):
		base.chain.TLS = d.hosts.in.serverTLS(r, s, d.hosts.class.Namespace)
	}
	if s.RouteTable != "" {
		_, asked := memo.Get(r, d.asked, s.RouteTable)
		base.chain.HTTP = &model.HTTPChain{Table: s.RouteTable, GRPCWeb: s.Protocol == model.ProtocolGRPCWeb, Asked: asked}
		return []bytesRule{base}
	}
	found, _ := memo.Get(r, &d.routed.Cell, s.key)
	for _, p := range found.All() {
		routes := p.vs.TCP
		if serverKind(s) == "TLS" && !terminates(s) {
			routes = p.vs.TLS
		}
		where := scope{gateways: []string{s.gateway.Key()}, port: s.Port}
		for _, rule := range d.hosts.binder.bytesRules(r, routes, where) {
			var ok bool
			if rule.names, ok = common(rule.names, base.names, intersect); ok {
				rule.owner, rule.chain.TLS = base.owner, base.chain.TLS
				d.hosts.binder.boundBytes(r, &rule)
				out = append(out, rule)
			}
		}
	}
	return out
}

// terminates reports whether a server ends the client's TLS.
func terminates(s *served) bool {
	return secure(s) && s.TLS.Mode != model.ServerPassthrough && !s.auto()
}

// bytesTargets derives the clusters that listeners pass bytes to.
func bytesTargets(g *memo.Graph, listeners *memo.Cell[*model.Listener]) *memo.Derived[*model.Listener, target] {
	return memo.Flat(g, listeners, func(_ *memo.Reader, _ string, l *model.Listener, emit memo.Emit[target]) {
		for _, c := range l.Chains {
			if c.TCP == nil {
				continue
			}
			for _, w := range c.TCP.Clusters {
				emit(w.Name, target{host: w.To.Host, subset: w.To.Subset, port: w.To.Port})
			}
		}
	})
}
