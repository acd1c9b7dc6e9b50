package translate

import (
	"github.com/weftmesh/weft/internal/model"
)

// Most virtual hosts of a mesh are those of services of which no VirtualService
// says anything: they differ in their names alone. So these are written by hand
// around what their routes have in common, which is made and checked once.

// usualRoute is all that such a route goes by, beside the settings and its names.
type usualRoute struct {
	name  string
	tried bool // by the mesh's retries, else not at all
}

// usualRoute reports whether a route only sends all requests to a cluster.
// TestUsualRoutes holds it to every field that there is.
func (b *builder) usualRoute(r *model.Route) (kind usualRoute, cluster string, ok bool) {
	f, ok := r.Action.(*model.Forward)
	if !ok || len(f.Destinations) != 1 || r.Origin != "" || r.Match.Path != nil || !r.Match.OnlyPath() || r.StatPrefix != "" || r.Fault != nil || r.CORS != nil {
		return kind, "", false
	}
	d := &f.Destinations[0]
	switch {
	case !r.Request.None() || !r.Response.None() || !d.Request.None() || !d.Response.None(),
		d.Hash != nil || d.Session != nil || d.Reports,
		f.Rewrite != nil || f.Timeout != 0 || len(f.Mirrors) > 0 || f.Retry != nil && f.Retry != b.DefaultRetry:
		return kind, "", false
	}
	return usualRoute{name: r.Name, tried: f.Retry != nil}, d.Cluster, true
}

// Fields of Envoy's messages.
const (
	hostName, hostDomains, hostRoutes, hostAttempts        = 1, 2, 3, 14
	routeAction, routeDecorator, actionCluster, decoration = 2, 5, 1, 1
)

// usualHost writes the virtual host of one usual route, or gives nil for
// another. Source: envoy.config.route.v3.VirtualHost.
func (b *builder) usualHost(h *model.VirtualHost) []byte {
	if len(h.Routes) != 1 || h.RequireHTTPS || len(h.Domains) == 0 || !nameable(h.Table, h.Name) {
		return nil
	}
	kind, cluster, ok := b.usualRoute(h.Routes[0])
	if !ok || !nameable(cluster) || !nameable(h.Domains...) {
		return nil
	}
	e := b.hand()
	e.text(hostName, h.Table, "/", h.Name)
	for _, d := range h.Domains {
		e.text(hostDomains, d)
	}
	if !b.Headers.NoAttemptCount {
		e.number(hostAttempts, 1)
	}
	e.within(hostRoutes, func() {
		start := len(e.bytes)
		e.usualRoute(h.Name, cluster)
		common, ok := b.trunks[kind]
		if !ok {
			common = b.commonRoute(e.bytes[start:], h.Routes[0], kind)
		}
		e.bytes = append(e.bytes, common...)
	})
	return e.bytes
}

// nameable reports whether Envoy takes all of these as names of any kind. It may
// take others: Validate says.
func nameable(all ...string) bool {
	for _, s := range all {
		if s == "" || !plainText(s) {
			return false
		}
	}
	return true
}

// usualRoute adds what a usual route does not have in common with others.
func (e *encoder) usualRoute(host, cluster string) {
	e.within(routeDecorator, func() { e.text(decoration, host, anyPath) })
	e.within(routeAction, func() { e.text(actionCluster, cluster) })
}

// commonRoute is r without own, which is what usualRoute wrote of it.
func (b *builder) commonRoute(own []byte, r *model.Route, kind usualRoute) []byte {
	whole := b.route(r, "")
	whole.Decorator, whole.GetRoute().ClusterSpecifier = nil, nil
	return trunk(b, own, kind, whole)
}

// anyPath ends the name that traces have for a route.
const anyPath = "/*"
