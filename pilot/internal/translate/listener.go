package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldst "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocol "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	snicluster "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// The ports to which a pod's connections are redirected, as Istio's.
const (
	outboundPort = 15001
	inboundPort  = 15006
)

// virtualOutbound is the listener that each sidecar has; to is the cluster of
// connections to unknown destinations.
func (b *builder) virtualOutbound(to string) []message {
	// A connection to the port itself has nowhere else to go: passing it on
	// would reach this listener again, for ever.
	loop := &listener.FilterChain{
		Name: "virtualOutbound-blackhole", FilterChainMatch: &listener.FilterChainMatch{DestinationPort: wrapperspb.UInt32(outboundPort)},
		Filters: []*listener.Filter{b.tcpProxy(blackHoleCluster, one(blackHoleCluster), clientSide())},
	}
	asked := to == model.AskedCluster
	if asked {
		to = passthroughCluster // what is not HTTP names no host
	}
	l := &listener.Listener{
		Name: "virtualOutbound", UseOriginalDst: wrapperspb.Bool(true), TrafficDirection: core.TrafficDirection_OUTBOUND,
		FilterChains:       []*listener.FilterChain{loop},
		DefaultFilterChain: &listener.FilterChain{Name: "virtualOutbound-catchall-tcp", Filters: []*listener.Filter{b.tcpProxy(to, one(to), clientSide())}},
	}
	bindAll(l, outboundPort)
	if asked {
		b.askUnknown(l)
	}
	return []message{{name: l.Name, body: l}}
}

// bindAll binds every address of both families.
func bindAll(l *listener.Listener, port uint32) {
	l.Address = address("0.0.0.0", port)
	l.AdditionalAddresses = []*listener.AdditionalAddress{{Address: address("::", port)}}
}

func one(cluster string) *model.TCPChain {
	return &model.TCPChain{Clusters: []model.WeightedCluster{{Name: cluster, Weight: 1}}}
}

// listener renders a listener of the outbound or router side.
// Source: envoy.config.listener.v3.Listener.
func (b *builder) listener(l *model.Listener) message {
	if len(l.Chains) == 0 {
		return message{}
	}
	out := &listener.Listener{
		Name: l.Name, TrafficDirection: core.TrafficDirection_OUTBOUND, ContinueOnListenerFiltersTimeout: true,
		ListenerFiltersTimeout: b.detectionTimeout(patience(l)), Address: address(l.Address, l.Port),
	}
	if l.Capture {
		out.BindToPort = wrapperspb.Bool(false)
	}
	if l.Address == "0.0.0.0" {
		bindAll(out, l.Port) // Envoy finds a captured connection's listener by these too
	}
	secure := false
	origins := l.Gateways
	for i, c := range l.Chains {
		chain := b.chain(l, c)
		chain.Name = l.Name + "-" + cmp.Or(c.Name, strconv.Itoa(i))
		out.FilterChains = append(out.FilterChains, chain)
		secure = secure || c.TLS != nil || len(c.SNI) > 0
		if !slices.Contains(origins, c.Origin) {
			origins = append(origins[:len(origins):len(origins)], c.Origin)
		}
	}
	if b.class.Role == model.RoleRouter && b.Edge.ProxyProtocol {
		out.ListenerFilters = append(out.ListenerFilters, b.listenerFilter("envoy.filters.listener.proxy_protocol", &proxyprotocol.ProxyProtocol{}, nil))
	}
	if secure {
		out.ListenerFilters = append(out.ListenerFilters, b.tlsInspector(nil))
	}
	if l.Detect {
		out.ListenerFilters = append(out.ListenerFilters, b.httpInspector(nil))
	}
	return message{name: l.Name, body: out, sources: sourcesOf(slices.Concat(origins, b.guardOrigins())...)}
}

func (b *builder) chain(l *model.Listener, c model.Chain) *listener.FilterChain {
	out := &listener.FilterChain{FilterChainMatch: chainMatch(c), Metadata: objectMetadata(c.Origin)}
	if l.Detect && c.OnlyHTTP {
		out.FilterChainMatch = &listener.FilterChainMatch{ApplicationProtocols: plainHTTP, PrefixRanges: prefixRanges(c.CIDRs)}
	}
	if c.TLS != nil {
		out.TransportSocket = b.gatewayServer(c.TLS, c.HTTP != nil)
	}
	switch {
	case c.HTTP != nil && b.class.Role != model.RoleRouter:
		out.Filters = append(out.Filters, b.sidecarManager("outbound_"+l.Name, c.HTTP))
	case c.HTTP != nil:
		out.Filters = append(out.Filters, b.routerManager("outbound_"+l.Name, c.HTTP, behind(c.TLS)))
	case c.ByServerName:
		out.Filters = append(out.Filters, b.toServerName(l.Name)...)
	case c.TCP != nil:
		out.Filters = append(out.Filters, b.rightsOfBytes(behind(c.TLS))...)
		if c.TCP.Asked > 0 {
			out.Filters = append(out.Filters, b.askServerName(c.TCP.Asked))
		}
		out.Filters = append(out.Filters, b.tcpProxy(l.Name, c.TCP, clientSide()))
	}
	return out
}

// prefixRanges reads CIDRs; what is none has been reported and left out before.
func prefixRanges(cidrs []string) (out []*core.CidrRange) {
	for _, c := range cidrs {
		if prefix, err := netip.ParsePrefix(c); err == nil {
			out = append(out, &core.CidrRange{AddressPrefix: prefix.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(prefix.Bits()))})
		}
	}
	return out
}

// toServerName forwards bytes to the cluster that the client's server name
// calls; the filter chain has admitted the name.
func (b *builder) toServerName(prefix string) []*listener.Filter {
	return []*listener.Filter{
		b.filter("envoy.filters.network.sni_cluster", &snicluster.SniCluster{}),
		b.tcpProxy(prefix, &model.TCPChain{}, clientSide()),
	}
}

// plainHTTP is what the HTTP inspector may find.
var plainHTTP = []string{"http/1.0", "http/1.1", "h2c"}

// skip turns a listener filter off for some connections; nil never does.
type skip = *listener.ListenerFilterChainMatchPredicate

func (b *builder) tlsInspector(off skip) *listener.ListenerFilter {
	return b.listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspector.TlsInspector{}, off)
}

func (b *builder) httpInspector(off skip) *listener.ListenerFilter {
	return b.listenerFilter("envoy.filters.listener.http_inspector", &httpinspector.HttpInspector{}, off)
}

func (b *builder) originalDst() *listener.ListenerFilter {
	return b.listenerFilter("envoy.filters.listener.original_dst", &originaldst.OriginalDst{}, nil)
}

func (b *builder) listenerFilter(name string, config validated, off skip) *listener.ListenerFilter {
	return &listener.ListenerFilter{Name: name, FilterDisabled: off, ConfigType: &listener.ListenerFilter_TypedConfig{TypedConfig: b.pack(config)}}
}
