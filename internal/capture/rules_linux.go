package capture

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The address the proxy connects from when it hands a request to its own app,
// so that these connections are told from the app's calls to itself (Istio's).
var (
	PassthroughV4 = netip.MustParseAddr("127.0.0.6")
	PassthroughV6 = netip.MustParseAddr("::6")
)

var (
	loopbackV4 = netip.MustParsePrefix("127.0.0.1/32")
	loopbackV6 = netip.MustParsePrefix("::1/128")
)

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// outbound are the rules of the pod's own packets, in order; the first that
// ends in leave or redirect decides.
func (o Options) outbound() [][]expr.Any {
	rules := [][]expr.Any{
		// The proxy hands a request to its app.
		rule(loopback(), address(source, expr.CmpOpEq, host(PassthroughV4)), leave()),
		rule(loopback(), address(source, expr.CmpOpEq, host(PassthroughV6)), leave()),
	}
	for _, proxy := range o.Proxy.matches() {
		rules = append(rules,
			// The proxy was told by a service's endpoints to call this very pod:
			// that call comes in as from outside.
			rule(loopback(), tcp(), proxy, address(destination, expr.CmpOpNeq, loopbackV4), redirect(InboundPort)),
			rule(loopback(), tcp(), proxy, address(destination, expr.CmpOpNeq, loopbackV6), redirect(InboundPort)),
			rule(proxy, leave()))
	}
	if o.DNS { // before the loopback rule: resolvers on 127.0.0.53 are common
		rules = append(rules,
			rule(protocol(unix.IPPROTO_UDP), port(53), redirect(DNSPort)),
			rule(tcp(), port(53), redirect(DNSPort)))
	}
	rules = append(rules, rule(loopback(), leave()))
	for _, name := range o.ExcludeInterfaces {
		rules = append(rules, rule(byInterface(expr.MetaKeyOIFNAME, name), leave()))
	}
	return append(rules, o.outboundChoice()...)
}

// matches are the ways the proxy's own packets are known by.
func (p Proxy) matches() (ways []match) {
	if p.UID != 0 {
		ways = append(ways, byUID(p.UID))
	}
	if p.Mark != 0 {
		ways = append(ways, byMark(p.Mark))
	}
	return ways
}

// outboundChoice applies the lists: exclusions win over inclusions.
func (o Options) outboundChoice() (rules [][]expr.Any) {
	for _, p := range o.ExcludeOutboundPorts {
		rules = append(rules, rule(tcp(), port(p), leave()))
	}
	for _, cidr := range o.ExcludeOutboundCIDRs {
		rules = append(rules, rule(address(destination, expr.CmpOpEq, cidr), leave()))
	}
	for _, p := range o.IncludeOutboundPorts {
		rules = append(rules, rule(tcp(), port(p), redirect(OutboundPort)))
	}
	if o.IncludeOutboundCIDRs == nil {
		return append(rules, rule(tcp(), redirect(OutboundPort)))
	}
	for _, cidr := range o.IncludeOutboundCIDRs {
		rules = append(rules, rule(address(destination, expr.CmpOpEq, cidr), tcp(), redirect(OutboundPort)))
	}
	return rules
}

// inbound are the rules of packets that come from outside the pod. Connections
// over lo never reach them: their translation was settled on the way out.
func (o Options) inbound() (rules [][]expr.Any) {
	for _, name := range o.ExcludeInterfaces {
		rules = append(rules, rule(byInterface(expr.MetaKeyIIFNAME, name), leave()))
	}
	for _, name := range o.RerouteInterfaces {
		from := byInterface(expr.MetaKeyIIFNAME, name)
		for _, choice := range o.outboundChoice() {
			rules = append(rules, append(rule(from), choice...))
		}
		rules = append(rules, rule(from, leave()))
	}
	for _, p := range append(append([]uint16{}, OwnInboundPorts...), o.ExcludeInboundPorts...) {
		rules = append(rules, rule(tcp(), port(p), leave()))
	}
	if o.IncludeInboundPorts == nil {
		return append(rules, rule(tcp(), redirect(InboundPort)))
	}
	for _, p := range o.IncludeInboundPorts {
		rules = append(rules, rule(tcp(), port(p), redirect(InboundPort)))
	}
	return rules
}
