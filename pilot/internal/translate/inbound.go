package translate

import (
	"strconv"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/internal/model"
)

func portText(port uint32) string { return strconv.FormatUint(uint64(port), 10) }

// inboundClusters are the ways from the proxy to the app, at the address that
// the client dialled. They connect from 127.0.0.6 or ::6, which the capture
// rules let pass: else the proxy would meet itself again.
func (b *builder) inboundClusters(in *model.Inbound) (out []message) {
	for _, p := range in.Ports {
		out = append(out, b.inboundCluster(p))
	}
	return append(out, b.inboundCluster(catchAll(in)))
}

func (b *builder) inboundCluster(p model.InboundPort) message {
	c := &cluster.Cluster{
		Name: p.Cluster, CircuitBreakers: breakers(p.Pool), UpstreamConnectionOptions: keepalive(p.Pool),
		CommonLbConfig: &cluster.Cluster_CommonLbConfig{HealthyPanicThreshold: &xtype.Percent{}},
		UpstreamBindConfig: &core.BindConfig{
			SourceAddress:        &core.SocketAddress{Address: "127.0.0.6", PortSpecifier: &core.SocketAddress_PortValue{}},
			ExtraSourceAddresses: []*core.ExtraSourceAddress{{Address: &core.SocketAddress{Address: "::6", PortSpecifier: &core.SocketAddress_PortValue{}}}},
		},
	}
	b.dialled(c, p.Pool)
	c.TypedExtensionProtocolOptions = b.protocolOptions(inboundWire(p), p.Pool, nil)
	if p.Service != nil {
		c.Metadata = clusterMetadata(&model.Cluster{Service: p.Service, Port: model.Port{Number: p.Port}})
	}
	return message{name: c.Name, body: c}
}

// inboundWire is what the app gets: what the client's proxy sent, but HTTP/1.1
// and HTTP/2 as the service declares.
func inboundWire(p model.InboundPort) wire {
	switch {
	case p.Protocol.IsHTTP2():
		return http2
	case p.Protocol == model.ProtocolHTTP && (p.Pool == nil || !p.Pool.UseClientProtocol):
		return http1
	default:
		return useClients
	}
}

// catchAll is every port that no service targets.
func catchAll(in *model.Inbound) model.InboundPort {
	return model.InboundPort{Cluster: inboundPassthroughCluster, Mode: in.Mode}
}

// inboundListeners is virtualInbound: every connection to the pod.
func (b *builder) inboundListeners(in *model.Inbound) []message {
	l := &listener.Listener{
		Name: "virtualInbound", TrafficDirection: core.TrafficDirection_INBOUND,
		ContinueOnListenerFiltersTimeout: true, ListenerFiltersTimeout: b.detectionTimeout(),
		ListenerFilters: []*listener.ListenerFilter{b.originalDst(), b.tlsInspector(withoutTLS(in)), b.httpInspector(withoutDetection(in))},
	}
	bindAll(l, inboundPort)
	l.FilterChains = append(l.FilterChains, &listener.FilterChain{Name: refuseChain, Filters: []*listener.Filter{b.tcpProxy(blackHoleCluster, one(blackHoleCluster), serverSide(model.InboundPort{Cluster: blackHoleCluster}, false))}})
	ports := map[string]onMatch{portText(inboundPort): toChain(refuseChain)}
	for _, p := range in.Ports {
		if p.Port == inboundPort {
			continue
		}
		chains, match := b.portChains(p)
		l.FilterChains = append(l.FilterChains, chains...)
		ports[portText(p.Port)] = match
	}
	chains, rest := b.portChains(catchAll(in))
	l.FilterChains = append(l.FilterChains, chains...)
	l.FilterChainMatcher = byPort(ports, rest)
	return []message{{name: l.Name, body: l, sources: sourcesOf(in.Policies...)}}
}

// refuseChain closes connections: those to the listener's own port, which must
// not be passed on to itself, and those that the mode of a port does not allow.
const refuseChain = "virtualInbound-blackhole"

// chainNames are the filter chains of one port; an empty name: no such chain.
type chainNames struct{ meshHTTP, meshTCP, plainHTTP, plainTCP, appTLS string }

// portChains makes the filter chains of a port and says which connection takes
// which. Mesh mTLS is told by the server name that the mesh's clients send
// ("outbound_..."); other TLS is the app's own and passed through, unless the
// mode is strict.
func (b *builder) portChains(p model.InboundPort) ([]*listener.FilterChain, onMatch) {
	var out []*listener.FilterChain
	var names chainNames
	http, bytes := speaks(p.Protocol)
	add := func(name string, mesh, http bool) string {
		c := &listener.FilterChain{Name: chainPrefix(p) + name}
		if mesh {
			c.TransportSocket = b.meshServer()
			c.Filters = append(c.Filters, b.readCaller())
		}
		if http {
			c.Filters = append(c.Filters, b.appManager(p, serverSide(p, mesh)))
		} else {
			c.Filters = append(c.Filters, b.tcpProxy("inbound_"+p.Cluster, one(p.Cluster), serverSide(p, mesh)))
		}
		out = append(out, c)
		return c.Name
	}
	if p.Mode != model.MTLSDisable {
		if http {
			names.meshHTTP = add("mtls-http", true, true)
		}
		if bytes {
			names.meshTCP = add("mtls-tcp", true, false)
		}
	}
	if p.Mode != model.MTLSStrict {
		if http {
			names.plainHTTP = add("http", false, true)
		}
		if bytes {
			names.plainTCP = add("tcp", false, false)
		}
		if inspectsTLS(p) {
			names.appTLS = add("tls", false, false)
		}
	}
	return out, choose(p, names)
}

func chainPrefix(p model.InboundPort) string {
	if p.Port == 0 {
		return "virtualInbound-catchall-"
	}
	return "0.0.0.0_" + portText(p.Port) + "-"
}

// inspectsTLS reports whether TLS must be told from plaintext on a port.
func inspectsTLS(p model.InboundPort) bool {
	http, _ := speaks(p.Protocol)
	return p.Mode != model.MTLSDisable || http
}

// speaks reports whether HTTP and whether other bytes may come.
func speaks(p model.Protocol) (http, bytes bool) {
	switch {
	case p.IsHTTP():
		return true, false
	case p == model.ProtocolAuto:
		return true, true
	default:
		return false, true
	}
}
