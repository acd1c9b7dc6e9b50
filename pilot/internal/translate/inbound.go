package translate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/patch"
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
		Name: p.Cluster, CircuitBreakers: breakers(p.Pool), UpstreamConnectionOptions: b.keepalive(p.Pool),
		CommonLbConfig: &cluster.Cluster_CommonLbConfig{HealthyPanicThreshold: &xtype.Percent{}},
	}
	b.toApp(c, p)
	c.TypedExtensionProtocolOptions = b.protocolOptions(inboundWire(p), &model.Traffic{Pool: p.Pool})
	if p.Service != nil {
		c.Metadata = metadata(func(e *encoder) { e.cluster(&model.Cluster{Service: p.Service, Port: model.Port{Number: p.Port}}) })
		c.AltStatName = inboundStatName(b.Defaults.InboundStat, p)
	}
	m := message{name: c.Name, body: c}
	if p.Service != nil {
		m.facts.Hosts = []string{p.Service.Host}
	}
	return m
}

// toApp makes out connect to the app: at the address that the client dialled,
// from the one that the capture rules let pass, or where its Sidecar says.
func (b *builder) toApp(out *cluster.Cluster, p model.InboundPort) {
	if p.Local == "" && p.Port != 0 && b.Defaults.InboundLocalhost {
		p.Local, p.LocalPort = "127.0.0.1", cmp.Or(p.LocalPort, p.Port)
	}
	if p.Local != "" {
		out.ClusterDiscoveryType = discovery(cluster.Cluster_STATIC)
		out.ConnectTimeout = b.connectTimeout(p.Pool)
		out.LoadAssignment = &endpoint.ClusterLoadAssignment{ClusterName: out.GetName(), Endpoints: []*endpoint.LocalityLbEndpoints{{
			LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: place(p.Local, p.LocalPort)}}}},
		}}}
		return
	}
	b.dialled(out, p.Pool)
	out.UpstreamBindConfig = &core.BindConfig{
		SourceAddress:        &core.SocketAddress{Address: "127.0.0.6", PortSpecifier: &core.SocketAddress_PortValue{}},
		ExtraSourceAddresses: []*core.ExtraSourceAddress{{Address: &core.SocketAddress{Address: "::6", PortSpecifier: &core.SocketAddress_PortValue{}}}},
	}
	if p.LocalPort != 0 && p.LocalPort != p.Port {
		out.LbConfig = &cluster.Cluster_OriginalDstLbConfig_{OriginalDstLbConfig: &cluster.Cluster_OriginalDstLbConfig{UpstreamPortOverride: wrapperspb.UInt32(p.LocalPort)}}
	}
}

// place is the address "unix:///path", or an IP address and port.
func place(at string, port uint32) *core.Address {
	if path, ok := strings.CutPrefix(at, "unix://"); ok {
		return &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: path}}}
	}
	return address(at, port)
}

// boundListener is that of a port on which the proxy listens itself.
func (b *builder) boundListener(p model.InboundPort) message {
	chains, match := b.portChains(p)
	only := &model.Inbound{Ports: []model.InboundPort{p}}
	l := &listener.Listener{
		Name: p.Bind + "_" + portText(p.Port), TrafficDirection: core.TrafficDirection_INBOUND, Address: address(p.Bind, p.Port),
		ContinueOnListenerFiltersTimeout: true, ListenerFiltersTimeout: b.detectionTimeout(inboundPatience), FilterChains: append(chains, b.refuse()),
		ListenerFilters:    []*listener.ListenerFilter{b.tlsInspector(withoutTLS(only)), b.httpInspector(withoutDetection(only))},
		FilterChainMatcher: byPort(map[string]onMatch{portText(p.Port): match}, match),
	}
	return message{name: l.GetName(), body: l, sources: sourcesOf(b.guardOrigins()...), facts: patch.Target{Chains: b.chains}}
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
func (b *builder) inboundListeners(in *model.Inbound) (out []message) {
	l := &listener.Listener{
		Name: "virtualInbound", TrafficDirection: core.TrafficDirection_INBOUND,
		ContinueOnListenerFiltersTimeout: true, ListenerFiltersTimeout: b.detectionTimeout(inboundPatience),
		ListenerFilters: []*listener.ListenerFilter{b.originalDst(), b.tlsInspector(withoutTLS(in)), b.httpInspector(withoutDetection(in))},
	}
	bindAll(l, inboundPort)
	l.FilterChains = append(l.FilterChains, b.refuse())
	ports := map[string]onMatch{portText(inboundPort): toChain(refuseChain)}
	for _, p := range in.Ports {
		if p.Port == inboundPort {
			continue
		}
		if p.Bind != "" {
			out = append(out, b.boundListener(p))
			continue
		}
		chains, match := b.portChains(p)
		l.FilterChains = append(l.FilterChains, chains...)
		ports[portText(p.Port)] = match
	}
	chains, rest := b.portChains(catchAll(in))
	l.FilterChains = append(l.FilterChains, chains...)
	l.FilterChainMatcher = byPort(ports, rest)
	return append(out, message{name: l.Name, body: l, sources: sourcesOf(slices.Concat(in.Policies, b.guardOrigins())...), facts: patch.Target{Chains: b.chains}})
}

// refuseChain closes connections: those to the listener's own port, which must
// not be passed on to itself, and those that the mode of a port does not allow.
const refuseChain = "virtualInbound-blackhole"

func (b *builder) refuse() *listener.FilterChain {
	side := serverSide(model.InboundPort{Cluster: blackHoleCluster}, false)
	return &listener.FilterChain{Name: refuseChain, Filters: []*listener.Filter{b.tcpProxy(blackHoleCluster, one(blackHoleCluster), side)}}
}

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
			c.Filters = append(c.Filters, b.appManager(p, mesh))
		} else {
			c.Filters = append(c.Filters, b.rightsOfBytes(whole)...)
			from := serverSide(p, mesh)
			if name == "tls" {
				from.wire = wireTLS
			}
			c.Filters = append(c.Filters, b.tcpProxy("inbound_"+p.Cluster, one(p.Cluster), from))
		}
		out = append(out, c)
		b.noteChain(c.Name, p.Port, mesh || strings.HasSuffix(name, "tls"), http)
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
	switch {
	case p.Mode == model.MTLSStrict:
	case terminates(p):
		names.appTLS = add("tls", false, http)
		out[len(out)-1].TransportSocket = b.gatewayServer(p.TLS, http)
	default:
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

// terminates reports whether the proxy ends the TLS of callers from outside
// the mesh: then they cannot speak anything else.
func terminates(p model.InboundPort) bool { return p.TLS != nil && p.Mode == model.MTLSDisable }

func chainPrefix(p model.InboundPort) string {
	if p.Port == 0 {
		return "virtualInbound-catchall-"
	}
	return "0.0.0.0_" + portText(p.Port) + "-"
}

// inspectsTLS reports whether TLS must be told from plaintext on a port.
func inspectsTLS(p model.InboundPort) bool {
	http, _ := speaks(p.Protocol)
	return p.Mode != model.MTLSDisable || http || terminates(p)
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
