package view

import (
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// binding is what a VirtualService says of one host of a route table.
type binding struct {
	table, host string
	port        uint32
	vs          *model.VirtualService
	gateways    string // by which it is bound, one a line
	https       bool
}

// routerHosts derives the virtual hosts of a gateway's route tables.
type routerHosts struct {
	in      *inputs
	class   model.ProxyClass
	servers *memo.Derived[*model.Gateway, *served]
	byName  *memo.Grouped[*served] // see serverNamesOf
	binder  *binder
}

// derive gives the virtual hosts that VirtualServices make, and those that
// only redirect to https.
func (h *routerHosts) derive() (routed *memo.Derived[memo.Table[*binding], *model.VirtualHost], redirects *memo.Derived[*served, *model.VirtualHost]) {
	g := h.in.graph
	byGateway := memo.Group(g, &h.servers.Cell, func(_ string, s *served) []string { return []string{s.gateway.Key()} })
	bound := memo.Flat(g, &h.in.virtualServices.Cell, func(r *memo.Reader, key string, vs *model.VirtualService, emit memo.Emit[*binding]) {
		if h.in.sees(r, vs.ExportTo, vs.Namespace) {
			h.bind(r, byGateway, vs, emit)
		}
	}, memo.Same(func(a, b *binding) bool { return *a == *b }))
	byHost := memo.Group(g, &bound.Cell, func(_ string, b *binding) []string { return []string{b.table + "/" + routerHostName(b.host, b.port)} })
	redirects = memo.Flat(g, &h.servers.Cell, func(_ *memo.Reader, _ string, s *served, emit memo.Emit[*model.VirtualHost]) {
		for _, host := range s.Hosts {
			if s.RouteTable != "" && s.redirects() {
				vh := &model.VirtualHost{Table: s.RouteTable, Name: routerHostName(host.Host, s.Port), Domains: []string{host.Host}, RequireHTTPS: true}
				emit(vh.Table+"/"+vh.Name, vh)
			}
		}
	}, memo.Same(sameHost))
	routed = memo.Map(g, &byHost.Cell, func(r *memo.Reader, key string, all memo.Table[*binding]) (*model.VirtualHost, bool) {
		_, redirect := memo.Get(r, &redirects.Cell, key) // by a server that no object is bound by
		return h.host(r, all, redirect)
	}, memo.Same(sameHost))
	return routed, redirects
}

func (s *served) redirects() bool { return s.TLS != nil && s.TLS.HTTPSRedirect }

func routerHostName(host string, port uint32) string {
	if host == "*" {
		return fallbackName
	}
	return hostName(host, port)
}

// bind emits, for each table and host, how vs is bound to it.
func (h *routerHosts) bind(r *memo.Reader, byGateway *memo.Grouped[*served], vs *model.VirtualService, emit memo.Emit[*binding]) {
	found := map[string]*binding{}
	for _, gw := range vs.Gateways {
		servers, _ := memo.Get(r, &byGateway.Cell, gw)
		for _, s := range servers.All() {
			if s.RouteTable == "" {
				continue
			}
			for _, host := range sharedHosts(vs, s) {
				if h.elsewhere(r, s, host) {
					continue
				}
				key := s.RouteTable + "/" + host
				if found[key] == nil {
					found[key] = &binding{table: s.RouteTable, host: host, port: s.Port, vs: vs}
				}
				found[key].by(gw, s)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		emit(key+"\x00"+vs.Rank+"\x00"+vs.Namespace+"/"+vs.Name, found[key])
	}
}

// by notes a gateway's server that b is bound by.
func (b *binding) by(gw string, s *served) {
	if !slices.Contains(strings.Split(b.gateways, "\n"), gw) {
		b.gateways = strings.TrimPrefix(b.gateways+"\n"+gw, "\n")
	}
	b.https = b.https || s.redirects()
}

// sharedHosts are the hosts that both the VirtualService and the server have;
// where one has a wildcard, the narrower.
func sharedHosts(vs *model.VirtualService, s *served) (out []string) {
	for _, allowed := range s.Hosts {
		if allowed.Namespace != "*" && allowed.Namespace != vs.Namespace {
			continue
		}
		for _, host := range vs.Hosts {
			if h, ok := intersect(host, allowed.Host); ok && !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	return out
}

// host merges the routes of all VirtualServices of one host, in the order of
// their rank; routes that take every request go last, as Istio sorts them.
func (h *routerHosts) host(r *memo.Reader, all memo.Table[*binding], redirect bool) (*model.VirtualHost, bool) {
	vh := &model.VirtualHost{RequireHTTPS: redirect}
	var last []*model.Route
	for _, b := range all.All() {
		vh.Table, vh.Name, vh.Domains = b.table, routerHostName(b.host, b.port), []string{b.host}
		vh.RequireHTTPS = vh.RequireHTTPS || b.https
		where := scope{gateways: strings.Split(b.gateways, "\n"), port: b.port}
		routes := h.binder.routes(r, b.vs.HTTP, where)
		h.binder.bounded(r, routes, b.host)
		for _, route := range routes {
			if catchAll(route) {
				last = append(last, route)
				break // what comes after it in its own object gets nothing
			}
			vh.Routes = append(vh.Routes, route)
		}
	}
	vh.Routes = append(vh.Routes, last...)
	return vh, len(vh.Routes) > 0 || vh.RequireHTTPS
}

// catchAll reports whether a route takes every request.
func catchAll(route *model.Route) bool {
	m := route.Match
	if !m.OnlyPath() {
		return false
	}
	return m.Path == nil || m.Path.Kind == model.MatchPrefix && m.Path.Value == "/" || m.Path.Kind == model.MatchRegex && m.Path.Value == ".*" ||
		m.Path.Kind == model.MatchPresent
}
