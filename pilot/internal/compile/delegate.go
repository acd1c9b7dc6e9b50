package compile

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// A VirtualService without hosts is a delegate: it takes no request by itself,
// its routes are merged into those of the roots that name it. A root reads its
// delegates' objects, so that the edit of a delegate compiles its roots again
// and nothing else.
//
// Source: istio.io/api networking/v1alpha3, message Delegate; for the merge,
// Istio's mergeHTTPRoutes.

// delegateKeys says to which VirtualServices one delegates, "namespace/name".
func delegateKeys(_ string, o *config.Object) (out []string) {
	spec, ok := o.Spec.(*networking.VirtualService)
	if !ok || len(spec.GetHosts()) == 0 {
		return nil
	}
	for _, r := range spec.GetHttp() {
		if key := delegateKey(r.GetDelegate(), o.Namespace); r.GetDelegate() != nil && !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out
}

// delegateKey is "namespace/name"; without a namespace it is the root's.
func delegateKey(to *networking.Delegate, namespace string) string {
	if to.GetNamespace() != "" {
		namespace = to.GetNamespace()
	}
	return namespace + "/" + to.GetName()
}

// virtualServiceObject is the object "namespace/name", nil if there is none.
func (s scope) virtualServiceObject(key string) *config.Object {
	o, _ := memo.Get(s.r, s.c.input(config.VirtualService), key)
	return o
}

// delegateAlone reports what is wrong with a delegate by itself. What it gives
// is in its roots.
func (c *routing) delegateAlone(o *config.Object, spec *networking.VirtualService) {
	if _, ok := memo.Get(c.in.r, &c.in.c.roots.Cell, o.Key()); !ok {
		c.d.Add(diag.NoEffect, "spec.hosts", "there is no host, and no VirtualService delegates to it: it takes no request")
	}
	if len(spec.GetGateways()) > 0 {
		c.d.Add(diag.NoEffect, "spec.gateways", "a VirtualService without hosts takes the gateways of those that delegate to it")
	}
	if len(spec.GetTcp())+len(spec.GetTls()) > 0 {
		c.d.Add(diag.NoEffect, "spec", "tcp and tls routes cannot be delegated to")
	}
	for i, r := range spec.GetHttp() {
		switch at := diag.Path("spec.http").Index(i); {
		case r == nil:
			c.d.Add(diag.RouteToNothing, at, "the route is empty")
		case r.GetDelegate() != nil:
			c.d.Add(diag.Invalid, at.Field("delegate"), "a delegate cannot delegate again (Istio has one level); its requests are answered 503")
		default:
			c.route(r, at)
		}
	}
}

// delegated reads a route that delegates: the routes of the delegate, each
// narrowed by the root's match. Where there is no delegate its requests are
// answered 503, so that no later route takes them.
func (c *routing) delegated(in *networking.HTTPRoute, at diag.Path) []*model.Route {
	before := len(c.d.All())
	c.rootAlone(in, at)
	said := messages(c.d.All()[before:])
	at = at.Field("delegate")
	o := c.delegate(in.GetDelegate(), at)
	if o == nil {
		return c.unanswered(in, at)
	}
	root := proto.CloneOf(in)
	qualifyRoute(root, c.namespace, c.settings.ClusterDomain)
	spec := o.Spec.(*networking.VirtualService)
	if len(spec.GetHttp()) == 0 {
		c.d.Add(diag.RouteToNothing, at, "VirtualService %q has no http route; the requests are answered 503", o.Key())
		return c.unanswered(in, at)
	}
	var out []*model.Route
	for i, r := range spec.GetHttp() {
		where := fmt.Sprintf("http[%d] of VirtualService %s", i, o.Key())
		leaf := proto.CloneOf(r)
		qualifyRoute(leaf, o.Namespace, c.settings.ClusterDomain)
		merged, conflict := mergeRoute(root, leaf)
		switch {
		case r == nil:
		case conflict != "":
			c.d.Add(diag.Invalid, at, "%s takes requests that this route does not: %s; it is left out", where, conflict)
		case r.GetDelegate() != nil:
			out = append(out, c.unanswered(merged, at)...)
		default:
			out = append(out, c.merged(merged, r, mergedAt{at: at, where: where, namespace: o.Namespace, said: said})...)
		}
	}
	return out
}

// mergedAt is where a merged route stands, and what has been said of its parts.
type mergedAt struct {
	at               diag.Path
	where, namespace string
	said             []string
}

// merged reads a merged route as the delegate's namespace sees it. Only what
// neither part shows alone is reported here.
func (c *routing) merged(in, leaf *networking.HTTPRoute, m mergedAt) (out []*model.Route) {
	home := c.namespace
	c.namespace = m.namespace
	defer func() { c.namespace = home }()
	found := c.quietly(func() { out = c.route(in, m.at) })
	if len(found) == 0 {
		return out
	}
	alone := &routing{in: c.in, namespace: m.namespace, settings: c.settings, wider: shadows{}}
	said := append(m.said, messages(alone.quietly(func() { alone.route(leaf, "") }))...)
	for _, f := range found {
		if !slices.Contains(said, f.Message) {
			c.d.Add(diag.Finding{Code: f.Code, Severity: f.Severity, Cure: f.Cure}, m.at, "%s, merged: %s", m.where, f.Message)
		}
	}
	return out
}

// quietly runs read and gives what it would have reported.
func (c *routing) quietly(read func()) []diag.Diagnostic {
	d := c.d
	c.d = diag.For(diag.Object{})
	defer func() { c.d = d }()
	read()
	return c.d.All()
}

func messages(found []diag.Diagnostic) (out []string) {
	for _, f := range found {
		out = append(out, f.Message)
	}
	return out
}

// rootAlone reports what is wrong with a route that delegates, by itself.
func (c *routing) rootAlone(in *networking.HTTPRoute, at diag.Path) {
	if len(in.GetRoute()) > 0 || in.GetRedirect() != nil {
		c.d.Add(diag.Invalid, at.Field("delegate"), "delegate can be set only where route and redirect are not; delegate is in force")
	}
	c.base(in, at)
	c.policies(in, at)
	for i, m := range in.GetMatch() {
		c.match(m, at.Field("match").Index(i))
	}
}

// unanswered gives routes that answer the matches of in with 503.
func (c *routing) unanswered(in *networking.HTTPRoute, at diag.Path) (out []*model.Route) {
	base := model.Route{Name: in.GetName(), Origin: c.origin, Action: toNowhere()}
	c.quietly(func() { out = c.spread(&base, in.GetMatch(), at) })
	return out
}

// delegate finds the object that a route delegates to; nil if it cannot be
// used, which is reported.
func (c *routing) delegate(to *networking.Delegate, at diag.Path) *config.Object {
	key := delegateKey(to, c.namespace)
	o := c.in.virtualServiceObject(key)
	if o == nil {
		c.d.Add(diag.NotFound, at, "VirtualService %q not found; the requests are answered 503", key)
		return nil
	}
	spec, ok := o.Spec.(*networking.VirtualService)
	if !ok {
		return nil
	}
	quiet := diag.For(diag.Object{})
	switch {
	case len(spec.GetHosts()) > 0:
		c.d.Add(diag.Invalid, at, "VirtualService %q has hosts, so it cannot be delegated to; the requests are answered 503", key)
	case !exportTo(spec.GetExportTo(), c.settings.VirtualServiceExport, "", quiet).Sees(o.Namespace, c.namespace):
		c.d.Add(diag.NotFound, at, "VirtualService %q is not exported to namespace %q; the requests are answered 503", key, c.namespace)
	default:
		return o
	}
	return nil
}

// qualifyRoute resolves the names in a route as the namespace sees them, so
// that it can be merged with one of another namespace. It writes to r.
func qualifyRoute(r *networking.HTTPRoute, namespace, domain string) {
	to := []*networking.Destination{r.GetMirror()}
	for _, m := range r.GetMirrors() {
		to = append(to, m.GetDestination())
	}
	for _, d := range r.GetRoute() {
		to = append(to, d.GetDestination())
	}
	for _, d := range to {
		if d != nil && hostname.Check(d.GetHost()) == nil {
			d.Host = hostname.Qualify(d.GetHost(), namespace, domain)
		}
	}
	c := &routing{namespace: namespace}
	for _, m := range r.GetMatch() {
		for i, name := range m.GetGateways() {
			if key, ok := c.gatewayKey(name); ok {
				m.Gateways[i] = key
			}
		}
	}
}
