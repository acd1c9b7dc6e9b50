package view

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// bytesRules are the tls or tcp routes of a service's port, in order: those of
// the VirtualServices of its host.
func (h *sidecarHosts) bytesRules(r *memo.Reader, s *model.Service, port model.Port) (out []bytesRule) {
	where := scope{gateways: []string{meshGateway}, port: port.Number}
	for _, vs := range h.claiming(r, s.Host) {
		if !h.in.routesAt(r, vs, port.Number) {
			continue
		}
		routes := vs.TCP
		if port.Protocol == model.ProtocolTLS {
			routes = vs.TLS
		}
		out = append(out, h.binder.bytesRules(r, routes, where)...)
	}
	return out
}

// toPort leads to the port itself, as the DestinationRule of its host says.
func (h *sidecarHosts) toPort(r *memo.Reader, s *model.Service, port model.Port) *model.TCPChain {
	out := h.binder.bytesTo(r, []model.Destination{{Host: s.Host, Port: port.Number, Weight: 1}}, port.Number)
	out.Clusters[0].To = model.Destination{} // no route says so
	return out
}

// routed is p with its chain to the service, the last, behind those of rules;
// or without it, where there is a tls route for the proxy: other server names
// have no route then (Istio).
func (p *piece) routed(rules []bytesRule) *piece {
	own := p.chains[len(p.chains)-1]
	if len(rules) == 0 {
		return p
	}
	within := networks(own.CIDRs)
	if addr, err := netip.ParseAddr(p.address); err == nil && !addr.IsUnspecified() {
		within = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}
	}
	var here []bytesRule
	for _, rule := range rules {
		to, ok := common(rule.to, within, narrower)
		if !ok {
			continue // it is for other addresses
		}
		if rule.to = to; p.address != anyAddress {
			rule.to = nil // all connections of the listener
		}
		here = append(here, rule)
	}
	if !own.RawTLS || len(here) == 0 {
		last := bytesRule{names: own.SNI, to: networks(own.CIDRs), chain: own}
		last.chain.SNI, last.chain.CIDRs = nil, nil
		here = append(here, last)
	}
	next := *p
	next.chains = append(p.chains[:len(p.chains)-1:len(p.chains)-1], bytesChains(here)...)
	return &next
}

func networks(cidrs []string) (out []netip.Prefix) {
	for _, text := range cidrs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// common is what both lists take, where nil takes all and meet gives what two
// elements have in common; not ok: the two share nothing.
func common[T comparable](a, b []T, meet func(x, y T) (T, bool)) (out []T, ok bool) {
	switch {
	case a == nil:
		return b, true
	case b == nil:
		return a, true
	}
	for _, x := range a {
		for _, y := range b {
			if both, ok := meet(x, y); ok && !slices.Contains(out, both) {
				out = append(out, both)
			}
		}
	}
	return out, len(out) > 0
}

// narrower is the one of two networks that is within the other.
func narrower(a, b netip.Prefix) (netip.Prefix, bool) {
	if b.Bits() > a.Bits() {
		a, b = b, a
	}
	return a, a.Overlaps(b)
}

// claiming are the VirtualServices of a host: those that name it before those
// with a wildcard, the narrower of these first; each by rank.
func (h *sidecarHosts) claiming(r *memo.Reader, host string) []*model.VirtualService {
	out := members(r, h.byHost, host, rankOf)
	var wider []*model.VirtualService
	width := map[*model.VirtualService]int{}
	for _, vs := range members(r, h.byHost, wild, rankOf) {
		if w := mostSpecific(vs.Hosts, host); w != "" && !slices.Contains(out, vs) {
			wider, width[vs] = append(wider, vs), len(w)
		}
	}
	slices.SortStableFunc(wider, func(a, b *model.VirtualService) int { return width[b] - width[a] })
	return append(out, wider...)
}

// bytesRules are the routes that scope admits, with their destinations bound.
func (b *binder) bytesRules(r *memo.Reader, routes []*model.BytesRoute, where scope) (out []bytesRule) {
	for _, route := range routes {
		if b.admits(r, where, route.Scope) {
			chain := model.Chain{RawTLS: len(route.SNI) > 0, Origin: route.Origin, TCP: b.bytesTo(r, route.Destinations, where.port)}
			out = append(out, bytesRule{names: route.SNI, to: route.To, from: route.From, chain: chain})
		}
	}
	return out
}

// bytesTo binds destinations. As in Istio the first one's DestinationRule sets
// the connection's times and its tunnel.
func (b *binder) bytesTo(r *memo.Reader, to []model.Destination, port uint32) *model.TCPChain {
	out := &model.TCPChain{}
	for i, d := range to {
		b.destination(r, &d, port)
		out.Clusters = append(out.Clusters, model.WeightedCluster{Name: d.Cluster, Weight: d.Weight, To: d})
		out.HashSource = out.HashSource || d.Hash != nil && d.Hash.SourceIP
		if _, asked := b.asks(r, d); asked && out.Asked == 0 {
			out.Asked = d.Port
		}
		if i > 0 {
			continue
		}
		e, _ := memo.Get(r, &b.effective.Cell, d.Host)
		subset := d.Subset
		if len(to) > 1 {
			subset = "" // of several, the tunnels of subsets are passed over (Istio)
		}
		out.Tunnel = e.tunnel(subset)
		if pool := b.in.traffic(r, e, d.Port, e.named(d.Subset)).Pool; pool != nil {
			out.IdleTimeout, out.MaxDuration = pool.TCPIdleTimeout, pool.MaxConnectionDuration
		}
	}
	return out
}
