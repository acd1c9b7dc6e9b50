package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// binder resolves the destinations of routes to clusters.
type binder struct {
	services  *memo.Cell[*model.Service]
	effective *memo.Derived[*model.Service, *effective]
}

// routes returns copies of those routes that scope admits, with their
// destinations bound; port is that of the table.
func (b *binder) routes(r *memo.Reader, routes []*model.Route, scope scope) []*model.Route {
	out := make([]*model.Route, 0, len(routes))
	for _, route := range routes {
		if scope.admits(route.Scope) {
			out = append(out, b.route(r, route, scope.port))
		}
	}
	return out
}

func (b *binder) route(r *memo.Reader, route *model.Route, port uint32) *model.Route {
	next := *route
	next.Scope = model.Scope{}
	if redirect, ok := route.Action.(*model.Redirect); ok && redirect.RequestPort {
		next.Action = onPort(redirect, port)
	}
	switch action := route.Action.(type) {
	case *model.Forward:
		next.Action = b.forward(r, action, port)
	case *model.Redirect:
		next.Action = redirect(action, port)
	}
	return &next
}

// redirect resolves the port of the request to that of the table.
func redirect(of *model.Redirect, port uint32) *model.Redirect {
	if !of.RequestPort {
		return of
	}
	next := *of
	next.RequestPort, next.Port = false, port
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

// onPort returns a redirect to the port of the table. As in Istio a protocol's
// default port is not spelled out.
func onPort(redirect *model.Redirect, port uint32) *model.Redirect {
	re := *redirect
	re.RequestPort = false
	if standard := map[string]uint32{"http": 80, "https": 443}[re.Scheme]; port == standard || re.Scheme == "" && (port == 80 || port == 443) {
		return &re
	}
	re.Port = port
	return &re
}

// destination fills in the port, the cluster and the hash of d. A service
// that is not visible still gets a name: Envoy answers 503 with flag NC.
func (b *binder) destination(r *memo.Reader, d *model.Destination, port uint32) {
	s, ok := memo.Get(r, b.services, d.Host)
	if d.Port == 0 {
		d.Port = port
		if ok && len(s.Ports) == 1 {
			d.Port = s.Ports[0].Number
		}
	}
	d.Cluster = clusterName(d.Port, d.Subset, d.Host)
	if e, ok := memo.Get(r, &b.effective.Cell, d.Host); ok {
		if lb := e.forPort(d.Port, e.named(d.Subset)).LB; lb != nil {
			d.Hash = lb.Hash
		}
	}
}

// scope is where a route would stand.
type scope struct {
	gateways  []string // by which the table was reached; meshGateway for sidecars
	port      uint32
	namespace string
	labels    map[string]string
}

func (s scope) admits(of model.Scope) bool {
	if of.Gateways != nil && !slices.ContainsFunc(of.Gateways, func(g string) bool { return slices.Contains(s.gateways, g) }) {
		return false
	}
	if of.Port != 0 && of.Port != s.port {
		return false
	}
	if of.SourceNamespace != "" && of.SourceNamespace != s.namespace {
		return false
	}
	return selects(of.SourceLabels, s.labels)
}
