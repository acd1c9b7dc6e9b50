package translate

import (
	"cmp"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/internal/model"
)

// chainMatch says which connections a chain takes; nil: all.
// Source: envoy.config.listener.v3.FilterChainMatch.
func chainMatch(c model.Chain) *listener.FilterChainMatch {
	if len(c.SNI)+len(c.CIDRs)+len(c.Sources) == 0 {
		return nil
	}
	return &listener.FilterChainMatch{ServerNames: c.SNI, PrefixRanges: prefixRanges(c.CIDRs), SourcePrefixRanges: prefixRanges(c.Sources)}
}

// objectMetadata names the object that configures something, as Kiali and
// Istio's tools read it; nil for none.
func objectMetadata(o model.Origin) *core.Metadata {
	if o == "" {
		return nil
	}
	return metadata(func(e *encoder) { e.space(istioSpace, func() { e.say("config", string(o)) }) })
}

// tcpProxy forwards bytes.
// Source: envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.
func (b *builder) tcpProxy(prefix string, chain *model.TCPChain, s side) *listener.Filter {
	p := &tcp.TcpProxy{
		StatPrefix: prefix, AccessLog: b.accessLogs(model.HTTPLogs), IdleTimeout: span(chain.IdleTimeout), MaxDownstreamConnectionDuration: span(chain.MaxDuration),
	}
	bytesTo(p, chain.Clusters)
	if chain.HashSource {
		p.HashPolicy = []*xtype.HashPolicy{{PolicySpecifier: &xtype.HashPolicy_SourceIp_{SourceIp: &xtype.HashPolicy_SourceIp{}}}}
	}
	if t := chain.Tunnel; t != nil {
		p.TunnelingConfig = &tcp.TcpProxy_TunnelingConfig{Hostname: t.Target, UsePost: t.Post}
	}
	b.count(p, s)
	return b.filter("envoy.filters.network.tcp_proxy", p)
}

// bytesTo sets one cluster, or several by weight; those of weight 0 take
// nothing. Where nothing is left connections are closed.
func bytesTo(p *tcp.TcpProxy, all []model.WeightedCluster) {
	if len(all) == 1 {
		p.ClusterSpecifier = &tcp.TcpProxy_Cluster{Cluster: cmp.Or(all[0].Name, noCluster)}
		return
	}
	weighted := &tcp.TcpProxy_WeightedCluster{}
	for _, d := range all {
		if d.Weight > 0 {
			weighted.Clusters = append(weighted.Clusters, &tcp.TcpProxy_WeightedCluster_ClusterWeight{Name: cmp.Or(d.Name, noCluster), Weight: d.Weight})
		}
	}
	if len(weighted.GetClusters()) == 0 {
		p.ClusterSpecifier = &tcp.TcpProxy_Cluster{Cluster: blackHoleCluster}
		return
	}
	p.ClusterSpecifier = &tcp.TcpProxy_WeightedClusters{WeightedClusters: weighted}
}
