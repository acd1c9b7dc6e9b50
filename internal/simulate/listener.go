package simulate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// connection is what Envoy knows of a connection when it chooses a filter
// chain.
type connection struct {
	destination netip.AddrPort // as restored by a listener filter
	source      netip.AddrPort
	transport   string   // "tls" or "raw_buffer", as a listener filter found it
	serverName  string   // from the ClientHello
	protocols   []string // ALPN, or what the HTTP inspector saw
}

// accept finds the listener that handles the call and what its listener
// filters learn of the connection.
func (c *Config) accept(call Call) (walk, error) {
	if !call.Source.IsValid() {
		call.Source = netip.MustParseAddrPort("127.0.0.1:40000")
	}
	l, err := c.entry(call)
	if err != nil {
		return walk{}, err
	}
	w := walk{config: c, call: call, listener: l, out: Outcome{Probability: 1}}
	w.conn = connection{destination: call.Destination, source: call.Source, transport: "raw_buffer"}
	if call.Listener != "" {
		// Redirected traffic arrives at the listener's own address; only the
		// original_dst filter knows better.
		if own, err := addressOf(l.GetAddress()); err == nil && own.Port() != call.Destination.Port() {
			w.conn.destination = own
		}
	}
	if err := w.inspect(); err != nil {
		return walk{}, fmt.Errorf("listener %q: %w", l.GetName(), err)
	}
	if l.GetUseOriginalDst().GetValue() {
		if next := c.at(w.conn.destination); next != nil && next != l {
			w.listener = next
			if err := w.inspect(); err != nil {
				return walk{}, fmt.Errorf("listener %q: %w", next.GetName(), err)
			}
		}
	}
	w.out.Listener = w.listener.GetName()
	return w, nil
}

// entry is the listener at which the connection arrives.
func (c *Config) entry(call Call) (*listener.Listener, error) {
	if call.Listener != "" {
		if l := c.listeners[call.Listener]; l != nil {
			return l, nil
		}
		return nil, fmt.Errorf("there is no listener %q", call.Listener)
	}
	bound := func(l *listener.Listener) bool {
		return l.GetBindToPort() == nil || l.GetBindToPort().GetValue()
	}
	for _, name := range c.order {
		own, err := addressOf(c.listeners[name].GetAddress())
		if err == nil && bound(c.listeners[name]) && own.Port() == call.Destination.Port() && reaches(own.Addr(), call.Destination.Addr()) {
			return c.listeners[name], nil
		}
	}
	return nil, fmt.Errorf("%w to %v", errNotBound, call.Destination)
}

var errNotBound = errors.New("no listener is bound")

// reaches says whether a connection to an address arrives at a listener bound
// to own.
func reaches(own, address netip.Addr) bool { return own.IsUnspecified() || own == address }

// at is the listener for a restored destination: of that address, else of any
// address with that port; nil when there is none. Whether it is bound does
// not matter.
func (c *Config) at(dst netip.AddrPort) *listener.Listener {
	wildcard := netip.IPv4Unspecified()
	if dst.Addr().Is6() && !dst.Addr().Is4In6() {
		wildcard = netip.IPv6Unspecified()
	}
	for _, want := range []netip.AddrPort{dst, netip.AddrPortFrom(wildcard, dst.Port())} {
		for _, name := range c.order {
			l := c.listeners[name]
			addresses := []*core.Address{l.GetAddress()}
			for _, more := range l.GetAdditionalAddresses() {
				addresses = append(addresses, more.GetAddress())
			}
			for _, a := range addresses {
				if own, err := addressOf(a); err == nil && own == want {
					return l
				}
			}
		}
	}
	return nil
}

func addressOf(a *core.Address) (netip.AddrPort, error) {
	s := a.GetSocketAddress()
	if s == nil {
		return netip.AddrPort{}, unknown("address %v", a)
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ip, uint16(s.GetPortValue())), nil
}

// inspect runs the listener filters of w.listener.
func (w *walk) inspect() error {
	if err := checkKnown(w.listener); err != nil {
		return err
	}
	if w.listener.GetUseOriginalDst().GetValue() {
		w.conn.destination = w.call.Destination // it brings the filter with it
	}
	for _, f := range w.listener.GetListenerFilters() {
		if err := checkKnown(f); err != nil {
			return err
		}
		off, err := w.disabled(f.GetFilterDisabled())
		if err != nil {
			return fmt.Errorf("listener filter %s: %w", f.GetName(), err)
		}
		if off {
			continue
		}
		switch url := f.GetTypedConfig().GetTypeUrl(); strings.TrimPrefix(url, "type.googleapis.com/") {
		case "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
			"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol":
			w.conn.destination = w.call.Destination
		case "envoy.extensions.filters.listener.original_src.v3.OriginalSrc":
		case "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector":
			if tls := w.call.TLS; tls != nil {
				w.conn.transport, w.conn.serverName, w.conn.protocols = "tls", strings.ToLower(tls.SNI), tls.ALPN
			}
		case "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector":
			w.sniffHTTP()
		default:
			return unknown("listener filter %s of type %s", f.GetName(), url)
		}
	}
	return nil
}

// sniffHTTP is the HTTP inspector: it sees plaintext only.
func (w *walk) sniffHTTP() {
	switch {
	case w.call.TLS != nil || w.call.TCP:
	case w.call.HTTP2:
		w.conn.protocols = []string{"h2c"}
	default:
		w.conn.protocols = []string{"http/1.1"}
	}
}

// disabled evaluates a listener filter's filter_disabled.
func (w *walk) disabled(p *listener.ListenerFilterChainMatchPredicate) (bool, error) {
	anyOf := func(set *listener.ListenerFilterChainMatchPredicate_MatchSet, want bool) (bool, error) {
		for _, rule := range set.GetRules() {
			if matched, err := w.disabled(rule); err != nil || matched == want {
				return matched, err
			}
		}
		return !want, nil
	}
	switch rule := p.GetRule().(type) {
	case nil:
		return false, nil
	case *listener.ListenerFilterChainMatchPredicate_AnyMatch:
		return rule.AnyMatch, nil
	case *listener.ListenerFilterChainMatchPredicate_NotMatch:
		matched, err := w.disabled(rule.NotMatch)
		return !matched, err
	case *listener.ListenerFilterChainMatchPredicate_OrMatch:
		return anyOf(rule.OrMatch, true)
	case *listener.ListenerFilterChainMatchPredicate_AndMatch:
		return anyOf(rule.AndMatch, false)
	case *listener.ListenerFilterChainMatchPredicate_DestinationPortRange:
		port := int32(w.conn.destination.Port())
		return port >= rule.DestinationPortRange.GetStart() && port < rule.DestinationPortRange.GetEnd(), nil
	}
	return false, unknown("filter_disabled %T", p.GetRule())
}

// chooseChain finds the filter chain of the connection; nil when none matches.
func (w walk) chooseChain() (*listener.FilterChain, error) {
	if tree := w.listener.GetFilterChainMatcher(); tree != nil {
		name, found, err := w.conn.evalTree(tree)
		if err != nil {
			return nil, fmt.Errorf("filter_chain_matcher: %w", err)
		}
		if !found {
			return w.listener.GetDefaultFilterChain(), nil
		}
		for _, chain := range w.listener.GetFilterChains() {
			if chain.GetName() == name {
				return chain, nil
			}
		}
		return nil, fmt.Errorf("filter_chain_matcher names %q, which is not there", name)
	}
	chain, err := w.conn.match(w.listener.GetFilterChains())
	if err != nil || chain == nil {
		return w.listener.GetDefaultFilterChain(), err
	}
	return chain, nil
}

// match is the classic filter_chain_match: criterion by criterion, in a fixed
// order, the most specific chains stay; there is no way back. Source:
// envoy.config.listener.v3.FilterChainMatch.
func (c connection) match(chains []*listener.FilterChain) (*listener.FilterChain, error) {
	for _, chain := range chains {
		if err := checkKnown(chain); err != nil {
			return nil, err
		}
		if m := chain.GetFilterChainMatch(); m != nil {
			if err := checkKnown(m); err != nil {
				return nil, err
			}
		}
	}
	for _, rank := range []func(*listener.FilterChainMatch) int{
		c.rankPort, c.rankDestination, c.rankServerName, c.rankTransport, c.rankProtocol, c.rankDirectSource, c.rankSourceType, c.rankSource, c.rankSourcePort,
	} {
		chains = narrow(chains, rank)
	}
	switch len(chains) {
	case 0:
		return nil, nil
	case 1:
		return chains[0], nil
	}
	return nil, fmt.Errorf("filter chains %q and %q match alike", chains[0].GetName(), chains[1].GetName())
}

// narrow keeps the chains of the highest rank; a negative rank is no match.
func narrow(chains []*listener.FilterChain, rank func(*listener.FilterChainMatch) int) (best []*listener.FilterChain) {
	top := 0
	for _, chain := range chains {
		switch r := rank(chain.GetFilterChainMatch()); {
		case r > top:
			top, best = r, []*listener.FilterChain{chain}
		case r == top:
			best = append(best, chain)
		}
	}
	return best
}

// oneOf ranks a criterion: 0 where it is not set, 1 where it holds, else -1.
func oneOf(set, holds bool) int {
	switch {
	case !set:
		return 0
	case holds:
		return 1
	}
	return -1
}

func (c connection) rankPort(m *listener.FilterChainMatch) int {
	return oneOf(m.GetDestinationPort() != nil, m.GetDestinationPort().GetValue() == uint32(c.destination.Port()))
}

func (c connection) rankDestination(m *listener.FilterChainMatch) int {
	return rankPrefix(m.GetPrefixRanges(), c.destination.Addr())
}

func (c connection) rankServerName(m *listener.FilterChainMatch) int {
	best := oneOf(len(m.GetServerNames()) > 0, false)
	for _, name := range m.GetServerNames() {
		suffix, wild := strings.CutPrefix(name, "*")
		switch {
		case name == c.serverName && name != "":
			return 1 << 16
		case wild && strings.HasSuffix(c.serverName, suffix) && c.serverName != suffix:
			best = max(best, len(suffix))
		}
	}
	return best
}

func (c connection) rankTransport(m *listener.FilterChainMatch) int {
	return oneOf(m.GetTransportProtocol() != "", m.GetTransportProtocol() == c.transport)
}

// rankProtocol prefers what the client named first.
func (c connection) rankProtocol(m *listener.FilterChainMatch) int {
	for i, p := range c.protocols {
		if slices.Contains(m.GetApplicationProtocols(), p) {
			return len(c.protocols) - i
		}
	}
	return oneOf(len(m.GetApplicationProtocols()) > 0, false)
}

func (c connection) rankDirectSource(m *listener.FilterChainMatch) int {
	return rankPrefix(m.GetDirectSourcePrefixRanges(), c.source.Addr())
}

func (c connection) rankSource(m *listener.FilterChainMatch) int {
	return rankPrefix(m.GetSourcePrefixRanges(), c.source.Addr())
}

func (c connection) rankSourceType(m *listener.FilterChainMatch) int {
	switch m.GetSourceType() {
	case listener.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		return oneOf(true, c.local())
	case listener.FilterChainMatch_EXTERNAL:
		return oneOf(true, !c.local())
	}
	return 0
}

// local is Envoy's "same IP or loopback".
func (c connection) local() bool {
	return c.source.Addr().IsLoopback() || c.source.Addr() == c.destination.Addr()
}

func (c connection) rankSourcePort(m *listener.FilterChainMatch) int {
	return oneOf(len(m.GetSourcePorts()) > 0, slices.Contains(m.GetSourcePorts(), uint32(c.source.Port())))
}

// rankPrefix is 0 for no ranges, 1 + length of the longest range that holds
// the address, -1 when none does.
func rankPrefix(ranges []*core.CidrRange, addr netip.Addr) int {
	best := oneOf(len(ranges) > 0, false)
	for _, r := range ranges {
		ip, err := netip.ParseAddr(r.GetAddressPrefix())
		if err != nil {
			continue
		}
		bits := int(r.GetPrefixLen().GetValue())
		if prefix, err := ip.Prefix(bits); err == nil && prefix.Contains(addr.Unmap()) {
			best = max(best, 1+bits)
		}
	}
	return best
}
