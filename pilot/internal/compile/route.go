package compile

import (
	"encoding/json"
	"reflect"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// nowhere is the host of a route that cannot be honoured. No cluster has its
// name, so Envoy answers 503 with the flag NC; dropping the route would hand
// its requests to a later one.
const nowhere = "nowhere.weft.invalid"

// route reads one http[] entry: a model route for each of its matches, or one
// that takes every request.
//
// Source: istio.io/api networking/v1alpha3, message HTTPRoute.
func (c *routing) route(in *networking.HTTPRoute, at diag.Path) []*model.Route {
	if in.GetDelegate() != nil {
		return c.delegated(in, at)
	}
	action := c.action(in, at)
	base := c.base(in, at)
	base.Action = action
	return c.spread(base, in.GetMatch(), at)
}

// base reads what all matches of a route share, but for the action.
func (c *routing) base(in *networking.HTTPRoute, at diag.Path) *model.Route {
	base := &model.Route{Name: in.GetName(), Origin: c.origin}
	request, response := in.GetHeaders().GetRequest(), in.GetHeaders().GetResponse()
	base.Request, _ = c.headerOps(request, at.Field("headers").Field("request"), true)
	base.Response, _ = c.headerOps(response, at.Field("headers").Field("response"), false)
	base.Fault = c.fault(in.GetFault(), at.Field("fault"))
	base.CORS = c.cors(in.GetCorsPolicy(), at.Field("corsPolicy"))
	return base
}

// spread makes a route of base for each match; without any, one for all
// requests.
func (c *routing) spread(base *model.Route, matches []*networking.HTTPMatchRequest, at diag.Path) (out []*model.Route) {
	if len(matches) == 0 {
		return c.keep(out, base, at)
	}
	for i, match := range matches {
		m, scope, ok := c.match(match, at.Field("match").Index(i))
		if !ok {
			continue
		}
		route := *base
		route.Match, route.Scope, route.StatPrefix = m, scope, c.statPrefix(match.GetStatPrefix(), at.Field("match").Index(i))
		if match.GetName() != "" {
			route.Name = base.Name + "." + match.GetName()
		}
		out = c.keep(out, &route, at.Field("match").Index(i))
	}
	return out
}

// keep appends a route, and reports one that an earlier route hides.
func (c *routing) keep(out []*model.Route, r *model.Route, at diag.Path) []*model.Route {
	text, _ := json.Marshal([]any{r.Match, r.Scope}) // plain data: it cannot fail
	key := string(text)
	switch first, taken := c.matched[key]; {
	case c.takesAll != "":
		c.d.Add(diag.Unreachable, at, "%s takes every request before it", c.takesAll)
	case taken:
		c.d.Add(diag.Unreachable, at, "%s takes the same requests before it", first)
	default:
		if earlier := c.wider.of(r); earlier != "" {
			c.d.Add(diag.Unreachable, at, "%s takes all of its requests before it", earlier)
		}
		c.wider.add(r, at)
	}
	if c.matched == nil {
		c.matched = map[string]diag.Path{}
	}
	c.matched[key] = at
	if c.takesAll == "" && everything(r) {
		c.takesAll = at
	}
	return append(out, r)
}

// everything reports whether a route takes every request of its hosts.
func everything(r *model.Route) bool {
	m := r.Match
	if p := m.Path; p != nil && p.Kind == model.MatchPrefix && (p.Value == "/" || p.Value == "") {
		m.Path = nil
	}
	return reflect.DeepEqual(m, model.Match{}) && reflect.DeepEqual(r.Scope, model.Scope{})
}

// action reads what the route does; exactly one of redirect, directResponse
// and route should be set.
func (c *routing) action(in *networking.HTTPRoute, at diag.Path) model.Action {
	set := 0
	for _, is := range []bool{in.GetRedirect() != nil, in.GetDirectResponse() != nil, len(in.GetRoute()) > 0} {
		if is {
			set++
		}
	}
	if set > 1 {
		c.d.Add(diag.Invalid, at, "only one of route, redirect and directResponse may be set; redirect goes before directResponse, and that before route")
	}
	switch {
	case in.GetRedirect() != nil:
		if r := c.redirect(in, at.Field("redirect")); r != nil {
			return r
		}
	case in.GetDirectResponse() != nil:
		if r := c.directResponse(in.GetDirectResponse(), at.Field("directResponse")); r != nil {
			return r
		}
	case len(in.GetRoute()) == 0:
		c.d.Add(diag.RouteToNothing, at, "the route leads nowhere; its requests are answered 503")
	default:
		return c.forward(in, at)
	}
	return toNowhere()
}

// toNowhere answers 503.
func toNowhere() *model.Forward {
	return &model.Forward{Destinations: []model.Destination{{Host: nowhere, Weight: 1}}}
}

func (c *routing) forward(in *networking.HTTPRoute, at diag.Path) *model.Forward {
	to := c.destinations(in.GetRoute(), at.Field("route"))
	out, authority := c.policies(in, at)
	out.Destinations = to
	// As in Istio: alone, a destination's authority gives way to the route's.
	if one := out.Destinations; len(one) == 1 && authority != "" {
		one[0].Request.Set = slices.DeleteFunc(one[0].Request.Set, func(h model.Header) bool { return h.Name == authorityHeader })
	}
	return out
}

// policies reads what a route says about forwarding, but for where to, and the
// authority that it sets.
func (c *routing) policies(in *networking.HTTPRoute, at diag.Path) (out *model.Forward, authority string) {
	authority = c.routeAuthority(in, at)
	out = &model.Forward{
		Rewrite: c.rewrite(in.GetRewrite(), authority, at.Field("rewrite")),
		Retry:   compileRetry(in.GetRetries(), c.settings.DefaultRetry, at.Field("retries"), c.d),
		Mirrors: c.mirrors(in, at),
	}
	if v, ok := notNegative(in.GetTimeout(), at.Field("timeout"), c.d); ok {
		out.Timeout = v
	}
	return out, authority
}

// destinations reads route[]. Relative weights stay as they are when one entry
// is left out.
func (c *routing) destinations(in []*networking.HTTPRouteDestination, at diag.Path) (out []model.Destination) {
	for i, e := range in {
		at := at.Index(i)
		dest, ok := c.share(e.GetDestination(), e.GetWeight(), at)
		headers := at.Field("headers")
		var authority string
		if dest.Request, authority = c.headerOps(e.GetHeaders().GetRequest(), headers.Field("request"), true); authority != "" {
			dest.Request.Set = append([]model.Header{{Name: authorityHeader, Value: authority}}, dest.Request.Set...)
		}
		dest.Response, _ = c.headerOps(e.GetHeaders().GetResponse(), headers.Field("response"), false)
		if !ok {
			continue
		}
		out = append(out, dest)
	}
	return c.weighed(out, len(in), at)
}

// share reads what the destinations of all kinds of routes have: a weighted
// target. It is left out if ok is false.
func (c *routing) share(in *networking.Destination, weight int32, at diag.Path) (out model.Destination, ok bool) {
	out, ok = c.destination(in, at.Field("destination"))
	if weight < 0 {
		c.d.Add(diag.Invalid, at.Field("weight"), "must not be negative, got %d", weight)
		return out, false
	}
	out.Weight = uint32(weight)
	return out, ok
}

// weighed checks the weights of those of a number of destinations that are
// left; where none can be chosen they lead nowhere.
func (c *routing) weighed(out []model.Destination, of int, at diag.Path) []model.Destination {
	sum := uint64(0)
	for i := range out {
		sum += uint64(out[i].Weight)
	}
	switch {
	case of == 1 && len(out) == 1:
		out[0].Weight = 1 // alone it takes all, whatever its weight
	case sum == 0:
		c.d.Add(diag.RouteToNothing, at, "no destination has a weight above 0; %s", c.kind.refused())
		return []model.Destination{{Host: nowhere, Weight: 1}}
	case sum > maxWeightSum:
		c.d.Add(diag.Invalid, at, "the weights add up to %d, at most %d is possible; %s", sum, uint32(maxWeightSum), c.kind.refused())
		return []model.Destination{{Host: nowhere, Weight: 1}}
	}
	return out
}

// maxWeightSum is the largest total weight that Envoy takes.
const maxWeightSum = 1<<32 - 1

// destination resolves a host, subset and port. What does not exist is
// reported, but stays: its cluster is missing, so that Envoy answers 503 and
// never sends the request elsewhere. ok is false if no cluster can be named.
func (c *routing) destination(in *networking.Destination, at diag.Path) (out model.Destination, ok bool) {
	if in == nil {
		c.d.Add(diag.RouteToNothing, at, "the destination is missing")
		return out, false
	}
	if !checkHost(in.GetHost(), at.Field("host"), c.d) {
		return out, false
	}
	out = model.Destination{Host: c.qualify(in.GetHost()), Subset: in.GetSubset(), Port: in.GetPort().GetNumber()}
	if in.GetPort() != nil && !checkPort(out.Port, at.Field("port.number"), c.d) {
		return out, false
	}
	if !checkText(out.Subset, at.Field("subset"), c.d) {
		return out, false
	}
	svc := c.in.service(out.Host)
	if svc == nil {
		c.d.Add(diag.NotFound, at.Field("host"), "host %q not found%s; %s", out.Host, c.suggest(out.Host), c.kind.lost())
		return out, true
	}
	c.checkDestinationPort(svc, out.Port, at)
	if c.kind == httpRoutes {
		c.checkProtocol(svc, out, at)
	}
	if out.Subset != "" && !c.in.hasSubset(out.Host, out.Subset) {
		c.d.Add(diag.NotFound, at.Field("subset"), "subset %q of %s not found in any DestinationRule; %s", out.Subset, out.Host, c.kind.lost())
	}
	return out, true
}

// suggest names the service that a half-qualified name was meant for.
func (c *routing) suggest(host string) string {
	for _, full := range []string{host + ".svc." + c.settings.ClusterDomain, host + "." + c.settings.ClusterDomain} {
		if c.in.service(full) != nil {
			return " (write " + full + ")"
		}
	}
	return ""
}

// checkDestinationPort reports a port that the service lacks, and one that has
// to be guessed. Without a port it is a service's only one, else that which the
// client called; the View settles it.
func (c *routing) checkDestinationPort(svc *model.Service, port uint32, at diag.Path) {
	switch _, exists := svc.Port(port); {
	case port != 0 && !exists:
		c.d.Add(diag.NotFound, at.Field("port.number"), "service %s has no port %d; %s", svc.Host, port, c.kind.lost())
	case port == 0 && len(svc.Ports) > 1 && !slices.Contains(c.own, svc.Host):
		c.d.Add(diag.PortNeeded, at.Field("port"), "service %s has %d ports and none is named; the port that the client calls is used, and where the service lacks it %s", svc.Host, len(svc.Ports), c.kind.answer())
	}
}
