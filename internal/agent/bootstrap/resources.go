package bootstrap

import (
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func clusters(c Config) []*clusterv3.Cluster {
	out := []*clusterv3.Cluster{
		http2Cluster(XDSCluster, pipe(c.XDSSocket)),
		http2Cluster(SDSCluster, pipe(c.SDSSocket)),
		http2Cluster(TapCluster, pipe(c.TapSocket)),
		http2Cluster(CountCluster, pipe(c.CountSocket)),
		staticCluster(agentCluster, socketAddress(netip.AddrPortFrom(loopback, c.Ports.Status))),
		staticCluster(prometheusCluster, adminAddress(c)),
	}
	if c.Node.SelfDiscovery {
		out = append(out, fellows())
	}
	return append(out, remotes(c)...)
}

// fellows is never called: Envoy compares where its hosts are with where those
// of other clusters are. Source: envoy.config.bootstrap.v3.ClusterManager.local_cluster_name.
func fellows() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 localCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		ConnectTimeout:       durationpb.New(time.Second),
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource(), ServiceName: localCluster},
	}
}

func staticCluster(name string, at *corev3.Address) *clusterv3.Cluster {
	endpoint := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
		Endpoint: &endpointv3.Endpoint{Address: at}}}
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{endpoint}}},
		},
	}
}

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// http2Cluster bounds what the agent may send ahead of Envoy: 1 MiB.
func http2Cluster(name string, at *corev3.Address) *clusterv3.Cluster {
	const window = 1 << 20
	options := &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
						InitialStreamWindowSize:     uint32Value(window),
						InitialConnectionWindowSize: uint32Value(window),
					}}}}}
	cluster := staticCluster(name, at)
	cluster.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(options)}
	return cluster
}

// listeners are on the pod's addresses, because the kubelet probes 15021 and
// Prometheus may read 15090 there; each forwards exactly one path.
func listeners(c Config) []*listenerv3.Listener {
	at := localAddresses(c.Node)
	return []*listenerv3.Listener{
		onePath{name: "health", path: "/healthz/ready", cluster: agentCluster, port: c.Ports.Health}.listener(at),
		onePath{name: "prometheus", path: "/stats/prometheus", cluster: prometheusCluster, port: c.Ports.Prometheus}.listener(at),
	}
}

// onePath is a listener that forwards one path to one cluster and answers 404
// to all else.
type onePath struct {
	name, path, cluster string
	port                uint16
}

func (o onePath) listener(at []netip.Addr) *listenerv3.Listener {
	out := &listenerv3.Listener{
		Name:                  o.name,
		StatPrefix:            o.name,
		Address:               socketAddress(netip.AddrPortFrom(at[0], o.port)),
		IgnoreGlobalConnLimit: true, // a full proxy still tells its health
		BypassOverloadManager: true,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(o.manager())},
		}}}},
	}
	for _, ip := range at[1:] {
		more := &listenerv3.AdditionalAddress{Address: socketAddress(netip.AddrPortFrom(ip, o.port))}
		out.AdditionalAddresses = append(out.AdditionalAddresses, more)
	}
	return out
}

func (o onePath) manager() *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix:     o.name,
		StripPortMode:  &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: o.routes()},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
		// These two are for probes and scrapes: no tracing, no request id.
		GenerateRequestId:         wrapperspb.Bool(false),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(time.Minute)},
	}
}

func (o onePath) routes() *routev3.RouteConfiguration {
	route := &routev3.Route{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: o.path}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: o.cluster},
			Timeout:          durationpb.New(10 * time.Second),
		}},
	}
	return &routev3.RouteConfiguration{
		Name:         o.name,
		VirtualHosts: []*routev3.VirtualHost{{Name: o.name, Domains: []string{"*"}, Routes: []*routev3.Route{route}}},
	}
}
