package translate

import (
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	askedcluster "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	asked "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	askedhttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	askedsni "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// askedAgain is how soon a name that DNS does not know is asked for again. Envoy
// takes "there is no such name" for an answer that holds for the refresh rate, a
// minute by default, and failures too.
const askedAgain = 5 * time.Second

// askedNames is the one cache of names that clients ask for (DYNAMIC_DNS):
// Envoy wants the same settings of it wherever it is named, and refuses others by a
// name that it has, so whoever changes them changes the name.
func askedNames() *asked.DnsCacheConfig {
	return &asked.DnsCacheConfig{
		Name: "asked-5s", DnsLookupFamily: cluster.Cluster_ALL, DnsRefreshRate: durationpb.New(askedAgain),
		DnsFailureRefreshRate: &cluster.Cluster_RefreshRate{BaseInterval: durationpb.New(time.Second), MaxInterval: durationpb.New(askedAgain)},
	}
}

// byAsked makes out connect to the host that the request or the server name
// names, which a filter has looked up by then.
// Source: envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig.
func (b *builder) byAsked(out *cluster.Cluster) {
	out.LbPolicy = cluster.Cluster_CLUSTER_PROVIDED
	out.ClusterDiscoveryType = &cluster.Cluster_ClusterType{ClusterType: &cluster.Cluster_CustomClusterType{
		Name: "envoy.clusters.dynamic_forward_proxy",
		TypedConfig: b.pack(&askedcluster.ClusterConfig{
			ClusterImplementationSpecifier: &askedcluster.ClusterConfig_DnsCacheConfig{DnsCacheConfig: askedNames()},
			// TLS with the host as server name and checked against it is the default of
			// ClientTLSSettings; a rule that names another has the say.
			AllowInsecureClusterOptions: true,
		}),
	}}
}

// askHost is the HTTP filter that looks up a request's host where its cluster
// needs it.
func (b *builder) askHost() *hcm.HttpFilter {
	config := &askedhttp.FilterConfig{ImplementationSpecifier: &askedhttp.FilterConfig_DnsCacheConfig{DnsCacheConfig: askedNames()}}
	return &hcm.HttpFilter{Name: "envoy.filters.http.dynamic_forward_proxy", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: b.pack(config)}}
}

// askServerName is the network filter that looks up the server name.
func (b *builder) askServerName(port uint32) *listener.Filter {
	return b.filter("envoy.filters.network.sni_dynamic_forward_proxy", &askedsni.FilterConfig{
		DnsCacheConfig: askedNames(), PortSpecifier: &askedsni.FilterConfig_PortValue{PortValue: port},
	})
}
