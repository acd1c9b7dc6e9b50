package compile

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// routeKind is one of a VirtualService's three lists of routes.
type routeKind int

const (
	httpRoutes routeKind = iota
	tlsRoutes
	tcpRoutes
)

// answer is what comes of a request or connection that cannot be sent on;
// lost and refused say it of one to a destination, and of all of a route.
func (k routeKind) answer() string {
	if k == httpRoutes {
		return "the answer is 503"
	}
	return "connections are closed"
}

func (k routeKind) lost() string {
	if k == httpRoutes {
		return "requests to it are answered 503"
	}
	return "connections to it are closed"
}

func (k routeKind) refused() string {
	if k == httpRoutes {
		return "the requests are answered 503"
	}
	return "the connections are closed"
}

// takes reports whether routes of the kind hold for a port: "TCP routes will
// be applied to any port that is not a HTTP or TLS port", tls routes to ports
// of protocol HTTPS or TLS.
// Source: istio.io/api networking/v1alpha3, VirtualService.tls and tcp.
func (k routeKind) takes(p model.Protocol) bool {
	switch k {
	case tlsRoutes:
		return p == model.ProtocolTLS
	case tcpRoutes:
		return p == model.ProtocolTCP || p == model.ProtocolAuto
	case httpRoutes:
	}
	return p.IsHTTP() || p == model.ProtocolAuto
}

// bytes reads spec.tls and spec.tcp.
//
// Source: istio.io/api networking/v1alpha3, messages TLSRoute and TCPRoute.
func (c *routing) bytes(out *model.VirtualService, spec *networking.VirtualService) {
	c.hosts = out.Hosts
	for _, h := range spec.GetHosts() {
		if h = strings.ToLower(h); !slices.Contains(c.hosts, h) {
			c.hosts = append(c.hosts[:len(c.hosts):len(c.hosts)], h)
		}
	}
	c.kind = tlsRoutes
	seen := bytesShadows{}
	for i, route := range spec.GetTls() {
		at := diag.Path("spec.tls").Index(i)
		out.TLS = append(out.TLS, c.tlsRoute(route, at, seen)...)
	}
	c.reaches(out, len(spec.GetTls()), "spec.tls")
	c.kind = tcpRoutes
	seen = bytesShadows{}
	for i, route := range spec.GetTcp() {
		at := diag.Path("spec.tcp").Index(i)
		out.TCP = append(out.TCP, c.tcpRoute(route, at, seen)...)
	}
	c.reaches(out, len(spec.GetTcp()), "spec.tcp")
}

// reaches reports a list of routes that no port of the hosts is of the right
// protocol for, where the hosts are all known and for sidecars alone.
func (c *routing) reaches(out *model.VirtualService, routes int, at diag.Path) {
	if routes == 0 || !slices.Equal(out.Gateways, []string{meshGateway}) {
		return
	}
	for _, host := range out.Hosts {
		svc := c.in.service(host)
		if svc == nil || slices.ContainsFunc(svc.Ports, func(p model.Port) bool { return c.kind.takes(p.Protocol) }) {
			return
		}
	}
	if c.kind == tlsRoutes {
		c.d.Add(diag.NoSuchPort, at, "no port of %s is named tls or https, and tls routes hold for no other", strings.Join(out.Hosts, ", "))
		return
	}
	c.d.Add(diag.NoSuchPort, at, "every port of %s is named for HTTP or TLS, and tcp routes hold for others", strings.Join(out.Hosts, ", "))
}

// tlsRoute reads one tls[] entry.
func (c *routing) tlsRoute(in *networking.TLSRoute, at diag.Path, seen bytesShadows) (out []*model.BytesRoute) {
	if len(in.GetMatch()) == 0 {
		c.d.Add(diag.Invalid, at.Field("match"), "a tls route needs a match with sniHosts; the route is left out")
		return nil
	}
	base := model.BytesRoute{Origin: c.origin, Destinations: c.bytesDestinations(in.GetRoute(), at)}
	for i, m := range in.GetMatch() {
		at, before := at.Field("match").Index(i), len(c.d.All())
		route := base
		route.SNI = c.sniHosts(m.GetSniHosts(), at.Field("sniHosts"))
		route.To = c.subnets(m.GetDestinationSubnets(), at.Field("destinationSubnets"))
		route.Scope = c.bytesScope(m, at)
		if len(route.SNI) == 0 || len(m.GetDestinationSubnets()) != 0 && len(route.To) == 0 || c.unfit(before) {
			continue
		}
		if slices.Contains(route.SNI, "*") {
			route.SNI = nil
		}
		c.unreachable(seen, &route, at)
		out = append(out, &route)
	}
	return out
}

// tcpRoute reads one tcp[] entry; without a match it takes every connection.
func (c *routing) tcpRoute(in *networking.TCPRoute, at diag.Path, seen bytesShadows) (out []*model.BytesRoute) {
	base := model.BytesRoute{Origin: c.origin, Destinations: c.bytesDestinations(in.GetRoute(), at)}
	if len(in.GetMatch()) == 0 {
		c.unreachable(seen, &base, at)
		return []*model.BytesRoute{&base}
	}
	for i, m := range in.GetMatch() {
		at, before := at.Field("match").Index(i), len(c.d.All())
		route := base
		route.To = c.subnets(m.GetDestinationSubnets(), at.Field("destinationSubnets"))
		if from := m.GetSourceSubnet(); from != "" {
			if prefix, ok := c.subnet(from, at.Field("sourceSubnet")); ok {
				route.From = []netip.Prefix{prefix}
			}
		}
		route.Scope = c.bytesScope(m, at)
		if len(m.GetDestinationSubnets()) != 0 && len(route.To) == 0 || c.unfit(before) {
			continue
		}
		c.unreachable(seen, &route, at)
		out = append(out, &route)
	}
	return out
}

// unfit reports whether a match of which something was said cannot be
// honoured. A server name or subnet that is left out makes it narrower;
// anything else would have it take more than is meant.
func (c *routing) unfit(before int) bool {
	return slices.ContainsFunc(c.d.All()[before:], func(f diag.Diagnostic) bool {
		return f.Severity == diag.Error && !strings.Contains(f.Path, ".sniHosts[") && !strings.Contains(f.Path, ".destinationSubnets[")
	})
}

// selecting are the parts of a match that are settled when a listener is made.
type selecting interface {
	GetPort() uint32
	GetSourceLabels() map[string]string
	GetSourceNamespace() string
	GetGateways() []string
}

func (c *routing) bytesScope(in selecting, at diag.Path) (s model.Scope) {
	s = c.scope(in, at)
	if s.Port == 0 || s.Port > 65535 || !slices.Equal(c.own, c.hosts[:len(c.own)]) || len(c.own) == 0 {
		return s
	}
	for _, host := range c.own {
		svc := c.in.service(host)
		if svc == nil {
			return s
		}
		if p, ok := svc.Port(s.Port); ok && c.kind.takes(p.Protocol) {
			return s
		}
	}
	c.d.Add(diag.NoSuchPort, at.Field("port"), "no host of the VirtualService has a port %d that such routes hold for", s.Port)
	return s
}

// bytesDestinations reads the route[] of a tls or tcp route. Without any it
// leads nowhere: to drop it would hand its connections to a later one.
func (c *routing) bytesDestinations(in []*networking.RouteDestination, at diag.Path) (out []model.Destination) {
	if len(in) == 0 {
		c.d.Add(diag.RouteToNothing, at, "the route leads nowhere; %s", c.kind.refused())
		return []model.Destination{{Host: nowhere, Weight: 1}}
	}
	at = at.Field("route")
	for i, e := range in {
		if dest, ok := c.share(e.GetDestination(), e.GetWeight(), at.Index(i)); ok {
			out = append(out, dest)
		}
	}
	return c.weighed(out, len(in), at)
}

// sniHosts reads the server names of a match, each once and in order; "*"
// stands for any name, and for none.
func (c *routing) sniHosts(in []string, at diag.Path) (out []string) {
	if len(in) == 0 {
		c.d.Add(diag.Invalid, at, "a tls match needs at least one server name; the match is left out")
	}
	for i, text := range in {
		at := at.Index(i)
		name := strings.TrimSuffix(strings.ToLower(text), ".")
		_, err := netip.ParseAddr(name)
		switch {
		case !checkHost(text, at, c.d):
		case err == nil:
			c.d.Add(diag.Invalid, at, "%q is an address, and no client asks for one by SNI (RFC 6066, 3)", text)
		case strings.HasPrefix(name, "*") && name != "*" && !strings.HasPrefix(name, "*."):
			c.d.Add(diag.Invalid, at, "%q: a wildcard stands for whole labels, as in *.example.com", text)
		case !slices.ContainsFunc(c.hosts, func(h string) bool { return covers(h, name) }):
			c.d.Add(diag.Invalid, at, "server name %q lies in no host of the VirtualService (%s); it is left out", text, strings.Join(c.hosts, ", "))
		case slices.Contains(out, name):
			c.d.Add(diag.Duplicate, at, "server name %q stands twice", text)
		default:
			out = append(out, name)
		}
	}
	return out
}

// subnets reads addresses and subnets, each once.
func (c *routing) subnets(in []string, at diag.Path) (out []netip.Prefix) {
	for i, text := range in {
		if prefix, ok := c.subnet(text, at.Index(i)); ok && !slices.Contains(out, prefix) {
			out = append(out, prefix)
		}
	}
	return out
}

// subnet reads ADDRESS or ADDRESS/LENGTH.
func (c *routing) subnet(text string, at diag.Path) (netip.Prefix, bool) {
	prefix, err := netip.ParsePrefix(text)
	if addr, notAddr := netip.ParseAddr(text); notAddr == nil && addr.Zone() == "" {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil || prefix.Addr().Is4In6() {
		c.d.Add(diag.Invalid, at, "%q is no IP address or subnet (ADDRESS or ADDRESS/LENGTH); it is left out", text)
		return prefix, false
	}
	return prefix.Masked(), true
}

// bytesShadows says where, among the routes so far, one stands that takes
// every connection that asks for a server name ("*": for any, or none), or all
// with one match.
type bytesShadows map[string]diag.Path

// unreachable reports a route whose connections earlier ones take, and keeps
// what it takes itself.
func (c *routing) unreachable(seen bytesShadows, r *model.BytesRoute, at diag.Path) {
	names := r.SNI
	if len(names) == 0 {
		names = []string{"*"}
	}
	taken := 0
	for _, name := range names {
		if by := seen.of(name); by != "" {
			if taken++; taken == len(names) {
				c.d.Add(diag.Unreachable, at, "%s takes all of its connections before it", by)
			}
		}
	}
	if len(r.To) > 0 || len(r.From) > 0 || !reflect.DeepEqual(r.Scope, model.Scope{}) {
		return
	}
	for _, name := range names {
		if seen[name] == "" {
			seen[name] = at
		}
	}
}

// of gives where the route stands that takes name, or a wider name.
func (s bytesShadows) of(name string) diag.Path {
	for _, wider := range hostname.Wider(name) {
		if at := s[wider]; at != "" {
			return at
		}
	}
	return ""
}
