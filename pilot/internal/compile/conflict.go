package compile

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// The functions of this file report what one object alone does not show: two
// objects that claim the same. They change no value; who wins is settled when
// a View is made, per proxy.

// meshHosts says which hosts of the mesh a VirtualService claims.
func meshHosts(_ string, v *model.VirtualService) []string {
	if slices.Contains(v.Gateways, meshGateway) {
		return v.Hosts
	}
	return nil
}

// gatewayHosts says which hosts a VirtualService claims at which Gateways, as
// "namespace/gateway|host".
func gatewayHosts(_ string, v *model.VirtualService) (out []string) {
	for _, gw := range v.Gateways {
		for _, host := range v.Hosts {
			if gw != meshGateway {
				out = append(out, gw+"|"+host)
			}
		}
	}
	return out
}

// checkVirtualService reports hosts that an older VirtualService has claimed,
// and hosts that no server of a Gateway takes.
func checkVirtualService(v *model.VirtualService, in scope, d *diag.List) {
	for _, host := range meshHosts("", v) {
		claims, _ := memo.Get(in.r, &in.c.claims.Cell, host)
		first := v
		for _, other := range claims.All() {
			if other.Rank < first.Rank && meets(v, other) && compete(v, other) {
				first = other
			}
		}
		if first != v {
			d.Add(diag.HostConflict, "spec.hosts", "host %q is claimed by the older VirtualService %s/%s, which wins", host, first.Namespace, first.Name)
		}
	}
	checkAliases(v, in, d)
	checkAsked(v, in, d)
	for i, key := range v.Gateways {
		gw, ok := memo.Get(in.r, &in.c.gateways.values.Cell, key)
		if !ok || len(gw.Servers) == 0 {
			continue
		}
		for _, host := range v.Hosts {
			shared, _ := memo.Get(in.r, &in.c.doors.Cell, key+"|"+host)
			for _, other := range shared.All() {
				if other.Rank < v.Rank {
					d.Add(diag.SharedHost, "spec.hosts", "host %q at Gateway %q is also in the older VirtualService %s/%s, whose routes go first", host, key, other.Namespace, other.Name)
					break
				}
			}
		}
		if !slices.ContainsFunc(v.Hosts, func(h string) bool { return takes(gw, v.Namespace, h) }) {
			d.Add(diag.NotInGateway, diag.Path("spec.gateways").Index(i), "no server of Gateway %q takes a host of %v", key, v.Hosts)
		}
	}
}

// takes reports whether a server of gw takes a part of what host stands for.
func takes(gw *model.Gateway, namespace, host string) bool {
	for i := range gw.Servers {
		for _, h := range gw.Servers[i].Hosts {
			if (h.Namespace == "*" || h.Namespace == namespace) && (covers(h.Host, host) || covers(host, h.Host)) {
				return true
			}
		}
	}
	return false
}

// meets reports whether some namespace may see both.
func meets(a, b *model.VirtualService) bool {
	if a.ExportTo.None || b.ExportTo.None {
		return false
	}
	if !a.ExportTo.Restricted && !b.ExportTo.Restricted {
		return true
	}
	names := slices.Concat([]string{a.Namespace, b.Namespace}, a.ExportTo.Namespaces, b.ExportTo.Namespaces)
	return slices.ContainsFunc(names, func(ns string) bool {
		return a.ExportTo.Sees(a.Namespace, ns) && b.ExportTo.Sees(b.Namespace, ns)
	})
}

// compete reports whether both have routes of one kind.
func compete(a, b *model.VirtualService) bool {
	return len(a.HTTP) > 0 && len(b.HTTP) > 0 || len(a.TLS) > 0 && len(b.TLS) > 0 || len(a.TCP) > 0 && len(b.TCP) > 0
}

// gatewayPorts says which ports a Gateway opens, as decimal numbers.
func gatewayPorts(g *model.Gateway) (out []string) {
	for i := range g.Servers {
		if port := strconv.FormatUint(uint64(g.Servers[i].Port), 10); !slices.Contains(out, port) {
			out = append(out, port)
		}
	}
	return out
}

// gatewayDoors says which ports a Gateway opens, and by the first label that it
// selects by, at which proxies: "port|key=value", or "port|" at all.
func gatewayDoors(_ string, g *model.Gateway) (out []string) {
	label := ""
	for key, value := range g.Selector {
		if l := key + "=" + value; label == "" || l < label {
			label = l
		}
	}
	for _, port := range gatewayPorts(g) {
		out = append(out, port+"|"+label)
	}
	return out
}

// sharing are the Gateways that open a port, and may select all the proxies
// that g selects.
func (s scope) sharing(g *model.Gateway, port string) (out []*model.Gateway) {
	labels := []string{""}
	for key, value := range g.Selector {
		labels = append(labels, key+"="+value)
	}
	slices.Sort(labels)
	for _, label := range labels {
		found, _ := memo.Get(s.r, &s.c.openPorts.Cell, port+"|"+label)
		for _, other := range found.All() {
			out = append(out, other)
		}
	}
	return out
}

// checkGateway reports servers that an older Gateway of the same proxies
// contradicts: another kind of protocol on a port, or a TLS host taken twice;
// and credentials that are missing where its proxies are.
func checkGateway(g *model.Gateway, in scope, d *diag.List) {
	checkCredentials(g, in, d)
	checkServed(g, in, d)
	for _, port := range gatewayPorts(g) {
		for _, other := range in.sharing(g, port) {
			if other.Rank < g.Rank && model.Selects(other.Selector, g.Selector) {
				compareServers(g, other, port, d)
			}
		}
	}
}

func compareServers(g, older *model.Gateway, port string, d *diag.List) {
	for i := range g.Servers {
		for j := range older.Servers {
			s, o := &g.Servers[i], &older.Servers[j]
			if s.Port != o.Port || strconv.FormatUint(uint64(s.Port), 10) != port || s.Bind != o.Bind {
				continue
			}
			at := diag.Path("spec.servers").Index(s.Index)
			if isTLS(s) != isTLS(o) {
				d.Add(diag.GatewayConflict, at.Field("port"), "port %d is %s in the older Gateway %s, which wins, and %s here", s.Port, o.Protocol, older.Key(), s.Protocol)
			} else if host := sharedHost(s, o); isTLS(s) && host != "" {
				d.Add(diag.GatewayConflict, at.Field("hosts"), "TLS host %q on port %d is taken by the older Gateway %s, which wins", host, s.Port, older.Key())
			}
		}
	}
}

func isTLS(s *model.Server) bool { return s.Protocol == model.ProtocolTLS }

// sharedHost gives the first server name that both take; "" if there is none.
func sharedHost(a, b *model.Server) string {
	for _, h := range a.Hosts {
		if slices.ContainsFunc(b.Hosts, func(o model.ServerHost) bool { return o.Host == h.Host }) {
			return h.Host
		}
	}
	return ""
}

// policyHost says for which host a DestinationRule is.
func policyHost(_ string, p *model.Policy) []string { return []string{p.Host} }

// checkPolicy reports what an older DestinationRule of the namespace and host
// has settled: Istio merges them, and the older one's parts win.
func checkPolicy(p *model.Policy, in scope, d *diag.List) {
	others, _ := memo.Get(in.r, &in.c.ruled.Cell, p.Host)
	for _, other := range others.All() {
		if other.Namespace != p.Namespace || other.Rank >= p.Rank || (other.Selector == nil) != (p.Selector == nil) || !maps.Equal(other.Selector, p.Selector) {
			continue
		}
		if hasTraffic(&p.Traffic) && hasTraffic(&other.Traffic) {
			d.Add(diag.Duplicate, "spec.trafficPolicy", "the older DestinationRule %s/%s has set the traffic policy of %s; this one has no effect", other.Namespace, other.Name, p.Host)
		}
		for i := range p.Subsets {
			if name := p.Subsets[i].Name; slices.ContainsFunc(other.Subsets, func(s model.Subset) bool { return s.Name == name }) {
				d.Add(diag.Duplicate, "spec.subsets", "subset %q of %s is in the older DestinationRule %s/%s, which wins", name, p.Host, other.Namespace, other.Name)
			}
		}
	}
}

func hasTraffic(t *model.PortTraffic) bool { return !t.Empty() }

// subsetsOf indexes the subsets of policies for exact hosts, or for hosts with
// a wildcard, as "host|subset".
func subsetsOf(wild bool) func(*memo.Reader, string, *model.Policy, memo.Emit[bool]) {
	return func(_ *memo.Reader, _ string, p *model.Policy, emit memo.Emit[bool]) {
		if strings.HasPrefix(p.Host, "*") != wild {
			return
		}
		for i := range p.Subsets {
			emit(p.Host+"|"+p.Subsets[i].Name, true)
		}
	}
}

// hasSubset reports whether some DestinationRule of the host has the subset.
func (s scope) hasSubset(host, subset string) bool {
	if ok, _ := memo.Get(s.r, &s.c.subsets.Cell, host+"|"+subset); ok {
		return true
	}
	for key := range memo.All(s.r, &s.c.wildcards.Cell).All() {
		pattern, name, _ := strings.Cut(key, "|")
		if name == subset && covers(pattern, host) {
			return true
		}
	}
	return false
}

// covers reports whether a host pattern takes host.
func covers(pattern, host string) bool { return hostname.Covers(pattern, host) }

// peerScope says to whom a PeerAuthentication applies.
func peerScope(_ string, p *model.PeerAuth) []string {
	return []string{p.Namespace + "|" + model.FormatLabels(p.Selector)}
}

// checkPeerAuth reports a PeerAuthentication whose workloads an older one has
// claimed: Istio lets the older win.
func checkPeerAuth(p *model.PeerAuth, in scope, d *diag.List) {
	others, _ := memo.Get(in.r, &in.c.peers.Cell, peerScope("", p)[0])
	for _, other := range others.All() {
		if other.Rank < p.Rank {
			d.Add(diag.Duplicate, "spec.selector", "the older PeerAuthentication %s/%s is for the same workloads and wins", other.Namespace, other.Name)
			return
		}
	}
}
