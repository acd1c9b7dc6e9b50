package patch

import (
	"slices"
	"strconv"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/model"
)

// The listeners that take what was captured, whatever its port.
const (
	virtualInbound  = "virtualInbound"
	virtualOutbound = "virtualOutbound"
)

func virtual(l *listener.Listener) bool {
	return l.GetName() == virtualInbound || l.GetName() == virtualOutbound
}

// picks reports whether a patch is for a listener, or for something in it.
func (p *patch) picksListener(l *listener.Listener) bool {
	pick := p.Listener
	if pick == nil {
		return true
	}
	if pick.Name != "" && pick.Name != l.GetName() {
		return false
	}
	if p.To != model.ToListener && virtual(l) {
		return true // its chains have ports of their own
	}
	return pick.Port == 0 || pick.Port == l.GetAddress().GetSocketAddress().GetPortValue()
}

// Chain is what a filter chain is for, where its listener's matcher says so and
// not the chain itself.
type Chain struct {
	Port      uint32 // 0: any that has no chain of its own
	Transport string // "tls", "raw_buffer"
	Protocols []string
}

// purpose is what a filter chain takes.
func (t Target) purpose(c *listener.FilterChain) (chain Chain, names []string) {
	if own, ok := t.Chains[c.GetName()]; ok {
		return own, nil
	}
	m := c.GetFilterChainMatch()
	return Chain{Port: m.GetDestinationPort().GetValue(), Transport: m.GetTransportProtocol(), Protocols: m.GetApplicationProtocols()}, m.GetServerNames()
}

func (p *patch) picksChain(t Target, l *listener.Listener, c *listener.FilterChain) bool {
	if p.Listener == nil {
		return true
	}
	chain, names := t.purpose(c)
	if virtual(l) && p.Listener.Port != 0 && p.Listener.Port != chain.Port {
		return false
	}
	pick := p.Listener.Chain
	if pick == nil {
		return true
	}
	for _, protocol := range pick.Protocols {
		if !slices.Contains(chain.Protocols, protocol) {
			return false
		}
	}
	return (pick.Name == "" || pick.Name == c.GetName()) &&
		(pick.SNI == "" || slices.Contains(names, pick.SNI)) &&
		(pick.Transport == "" || pick.Transport == chain.Transport) &&
		(pick.Port == 0 || pick.Port == chain.Port)
}

// networkFilter is the name of the network filter that a patch is for; empty:
// any.
func (p *patch) networkFilter() string {
	if p.Listener == nil || p.Listener.Chain == nil {
		return ""
	}
	return p.Listener.Chain.Network
}

// httpFilter is networkFilter for HTTP filters.
func (p *patch) httpFilter() string {
	if p.Listener == nil || p.Listener.Chain == nil {
		return ""
	}
	return p.Listener.Chain.HTTP
}

func (p *patch) listenerFilter() string {
	if p.Listener == nil {
		return ""
	}
	return p.Listener.Filter
}

// picksTable reports whether a patch is for a route table, or for something in
// it.
func (p *patch) picksTable(name string, role model.Role) bool {
	pick := p.Table
	if pick == nil {
		return true
	}
	if pick.Name != "" && pick.Name != name {
		return false
	}
	port, portName, gateway := partsOfTable(name)
	if pick.Port != 0 && pick.Port != port {
		return false
	}
	return role != model.RoleRouter || (pick.PortName == "" || pick.PortName == portName) && (pick.Gateway == "" || pick.Gateway == gateway)
}

// partsOfTable takes a name apart: "80", "inbound|80||", "http.80" or
// "https.443.PORTNAME.GATEWAY.NAMESPACE".
func partsOfTable(name string) (port uint32, portName, gateway string) {
	number := name
	if rest, ok := strings.CutPrefix(name, "inbound|"); ok {
		number, _, _ = strings.Cut(rest, "|")
	} else if _, rest, ok := strings.Cut(name, "."); ok {
		parts := strings.Split(rest, ".")
		number = parts[0]
		if n := len(parts); n >= 4 {
			portName, gateway = strings.Join(parts[1:n-2], "."), parts[n-1]+"/"+parts[n-2]
		}
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return 0, portName, gateway
	}
	return uint32(n), portName, gateway
}

func (p *patch) picksHost(table string, vh *route.VirtualHost) bool {
	if p.Table == nil || p.Table.Host == nil {
		return true
	}
	pick := p.Table.Host
	return (pick.Name == "" || pick.Name == strings.TrimPrefix(vh.GetName(), table+"/")) &&
		(pick.Domain == "" || slices.Contains(vh.GetDomains(), pick.Domain))
}

// route is what a patch says of routes; nil: any.
func (p *patch) route() *model.RoutePick {
	if p.Table == nil || p.Table.Host == nil {
		return nil
	}
	return p.Table.Host.Route
}

func (p *patch) picksRoute(r *route.Route) bool {
	pick := p.route()
	if pick == nil {
		return true
	}
	return (pick.Name == "" || pick.Name == r.GetName()) && (pick.Action == "" || pick.Action == action(r))
}

func action(r *route.Route) string {
	switch r.GetAction().(type) {
	case *route.Route_Route:
		return "ROUTE"
	case *route.Route_Redirect:
		return "REDIRECT"
	case *route.Route_DirectResponse:
		return "DIRECT_RESPONSE"
	}
	return ""
}

// picksCluster goes by the parts of the name, "outbound|PORT|SUBSET|HOST". The
// host of an inbound cluster is that of the services that lead to it.
func (p *patch) picksCluster(t Target, c *cluster.Cluster) bool {
	pick := p.Cluster
	if pick == nil {
		return true
	}
	if pick.Name != "" {
		return pick.Name == c.GetName()
	}
	port, subset, hosts := partsOfCluster(c.GetName(), t.Hosts)
	return (pick.Subset == "" || pick.Subset == subset) && (pick.Port == 0 || pick.Port == port) &&
		(pick.Service == "" || slices.Contains(hosts, pick.Service))
}

// partsOfCluster takes a name apart: "outbound|PORT|SUBSET|HOST". The hosts of
// one that names none are those of the services that lead to it.
func partsOfCluster(name string, led []string) (port uint32, subset string, hosts []string) {
	n, ok := clustername.Parse(name)
	if ok && n.Direction != clustername.Inbound {
		led = []string{n.Host}
	}
	return n.Number(), n.Subset, led
}
