package envoy

import (
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Place changes resources one by one, for a Proxy with Options.Placed; a nil
// message leaves one out.
func Place(all []*discovery.Resource, change func(proto.Message) proto.Message) (out []*discovery.Resource, err error) {
	for _, r := range all {
		m, err := r.GetResource().UnmarshalNew()
		if err != nil {
			return nil, err
		}
		if m = change(m); m == nil {
			continue
		}
		next := proto.CloneOf(r)
		if next.Resource, err = anypb.New(m); err != nil {
			return nil, err
		}
		out = append(out, next)
	}
	return out, nil
}

// Bind has a listener take connections at an address of its own, where capture
// would have brought them to it.
func Bind(l *listener.Listener, address string, port uint32) {
	l.Address, l.AdditionalAddresses, l.UseOriginalDst, l.BindToPort = Socket(address, port), nil, nil, wrapperspb.Bool(true)
	var filters []*listener.ListenerFilter
	for _, f := range l.GetListenerFilters() {
		if !strings.HasSuffix(f.GetTypedConfig().GetTypeUrl(), "OriginalDst") {
			filters = append(filters, f)
		}
	}
	l.ListenerFilters = filters
}

// AtApp makes an inbound cluster connect to an app at an address.
func AtApp(c *cluster.Cluster, address string, port uint32) {
	c.ClusterDiscoveryType = &cluster.Cluster_Type{Type: cluster.Cluster_STATIC}
	c.LbPolicy, c.UpstreamBindConfig = cluster.Cluster_ROUND_ROBIN, nil
	c.LoadAssignment = &endpoint.ClusterLoadAssignment{ClusterName: c.GetName(), Endpoints: []*endpoint.LocalityLbEndpoints{{
		LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: Socket(address, port)}}}},
	}}}
}

// Socket is an address of TCP.
func Socket(address string, port uint32) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: address, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
	}}}
}
