package translate

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// unknownHosts is the cluster of hosts that are not known to the mesh and that
// DNS is asked for; none where they are called at the address dialled.
// Source: MeshConfig.OutboundTrafficPolicy, mode ALLOW_ANY_DYNAMIC_DNS.
func (b *builder) unknownHosts() []message {
	if b.OutboundAsked == nil {
		return nil
	}
	traffic := &model.Traffic{Pool: b.Defaults.Traffic.Pool, TLS: b.OutboundAsked.TLS}
	out := &cluster.Cluster{
		Name: model.AskedCluster, ConnectTimeout: b.connectTimeout(traffic.Pool), CircuitBreakers: breakers(traffic.Pool),
		UpstreamConnectionOptions: b.keepalive(traffic.Pool), Metadata: telemetryMetadata("unknown", model.AskedCluster, "unknown"),
		TypedExtensionProtocolOptions: b.protocolOptions(useClients, traffic),
	}
	b.byAsked(out)
	if traffic.TLS != nil {
		out.TransportSocket = b.ownClient(&model.Cluster{}, traffic.TLS)
	}
	return []message{{name: out.GetName(), body: out}}
}

// askUnknown has HTTP on ports that no service has go to the host that it names.
// To tell it the client's first bytes are waited for, a moment where the server
// may speak first.
func (b *builder) askUnknown(l *listener.Listener) {
	const name = "allow_any_dynamic_dns"
	m := b.outboundManager("outbound_virtualOutbound_"+name, &model.HTTPChain{})
	all := &model.Route{Name: name, Action: &model.Forward{Destinations: []model.Destination{{Cluster: model.AskedCluster, Weight: 1}}}}
	host := b.virtualHost(&model.VirtualHost{Table: name, Name: "*", Domains: []string{"*"}, Routes: []*model.Route{all}})
	m.RouteSpecifier = &hcm.HttpConnectionManager_RouteConfig{RouteConfig: &route.RouteConfiguration{
		Name: name, ValidateClusters: wrapperspb.Bool(false), IgnorePortInHostMatching: true, VirtualHosts: []*route.VirtualHost{host},
		ResponseHeadersToRemove: []string{unreachedHeader},
	}}
	l.FilterChains = append(l.FilterChains, &listener.FilterChain{
		Name: "virtualOutbound-catchall-http", FilterChainMatch: &listener.FilterChainMatch{ApplicationProtocols: plainHTTP},
		Filters: []*listener.Filter{b.filter(managerFilter, m)},
	})
	l.ListenerFilters = append(l.ListenerFilters, b.httpInspector(nil))
	l.ContinueOnListenerFiltersTimeout, l.ListenerFiltersTimeout = true, b.detectionTimeout(outboundPatience)
}
