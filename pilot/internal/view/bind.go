package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// binder resolves the destinations of routes to clusters.
type binder struct {
	in        *inputs
	services  *memo.Cell[*model.Service]
	effective *memo.Derived[*model.Service, *effective]
}

// routes returns copies of those routes that scope admits, with their
// destinations bound; port is that of the table.
func (b *binder) routes(r *memo.Reader, routes []*model.Route, scope scope) []*model.Route {
	out := make([]*model.Route, 0, len(routes))
	for _, route := range routes {
		if b.admits(r, scope, route.Scope) {
			out = append(out, b.route(r, route, scope.port))
		}
	}
	return out
}

func (b *binder) route(r *memo.Reader, route *model.Route, port uint32) *model.Route {
	next := *route
	next.Scope = model.Scope{}
	switch action := route.Action.(type) {
	case *model.Forward:
		next.Action = b.forward(r, action, port)
	case *model.Redirect:
		next.Action = redirect(action, port)
	}
	return &next
}

// redirect resolves the port of a redirect that leads to that of the request
// (the table's) or to the protocol's own. A port that the client's scheme
// implies is not spelled out, as in Istio. Envoy keeps the port of the Host
// header unless told otherwise, or the scheme changes and it was implied.
func redirect(of *model.Redirect, port uint32) *model.Redirect {
	own := map[string]uint32{"https": 443}[of.Scheme]
	if own == 0 {
		own = 80
	}
	implied := port == 80 || port == 443
	next := *of
	next.RequestPort, next.DerivePort = false, false
	switch {
	case of.RequestPort && port != own && !(of.Scheme == "" && implied):
		next.Port = port
	case of.DerivePort && of.Authority == "" && !implied:
		next.Port = own
	case of.Port == own && of.Scheme != "" && (of.Authority != "" || implied):
		next.Port = 0
	}
	return &next
}

func (b *binder) forward(r *memo.Reader, of *model.Forward, port uint32) *model.Forward {
	f := *of
	f.Destinations = slices.Clone(f.Destinations)
	for i := range f.Destinations {
		b.destination(r, &f.Destinations[i], port)
	}
	f.Mirrors = slices.Clone(f.Mirrors)
	for i := range f.Mirrors {
		b.destination(r, &f.Mirrors[i].Destination, port)
	}
	return &f
}

// destination fills in the port, the cluster and the hash of d. A service
// that is not visible still gets a name: Envoy answers 503 with flag NC.
func (b *binder) destination(r *memo.Reader, d *model.Destination, port uint32) {
	s, ok := memo.Get(r, b.services, d.Host)
	if ok && s.AliasOf != "" {
		d.Host = s.AliasOf
		s, ok = memo.Get(r, b.services, d.Host)
	}
	if d.Port == 0 {
		d.Port = port
		if ok && len(s.Ports) == 1 {
			d.Port = s.Ports[0].Number
		}
	}
	d.Cluster = clustername.Of(d.Port, d.Subset, d.Host)
	if ok {
		d.Reports, d.Session = s.Balancer == model.LBLatency, s.Session
	}
	if e, ok := memo.Get(r, &b.effective.Cell, d.Host); ok {
		if lb := e.forPort(d.Port, e.named(d.Subset)).LB; lb != nil {
			d.Hash = lb.Hash
		}
	}
}

// scope is where a route would stand.
type scope struct {
	gateways []string // by which the table was reached; meshGateway for sidecars
	port     uint32
}

// admits reports whether a route is for the proxy at that place.
func (b *binder) admits(r *memo.Reader, s scope, of model.Scope) bool {
	if of.Gateways != nil && !slices.ContainsFunc(of.Gateways, func(g string) bool { return slices.Contains(s.gateways, g) }) {
		return false
	}
	if of.Port != 0 && of.Port != s.port {
		return false
	}
	if of.SourceNamespace != "" && !b.in.home(r, of.SourceNamespace) {
		return false
	}
	return b.in.selected(r, of.SourceLabels)
}
