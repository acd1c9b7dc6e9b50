package envoy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyprotocol "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	upstreamproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// plan is a configuration moved to loopback.
type plan struct {
	resources []*discovery.Resource
	bound     map[string]boundListener // by name
	order     []string
	asks      bool // a DNS server for hosts that clients name
}

// boundListener is what is remembered of a listener that binds a port.
type boundListener struct {
	address string // its own, before it was moved: "0.0.0.0:15001"
	port    uint16
	// restores says that it has a filter that finds the original destination.
	restores bool
}

// own is its address before it was moved.
func (b boundListener) own() netip.AddrPort {
	own, _ := netip.ParseAddrPort(b.address) // Envoy takes no other
	return own
}

// hears says whether connections to an address arrive there. Among loopback
// addresses, which are kept, the system decides.
func (b boundListener) hears(at netip.AddrPort) bool {
	own := b.own()
	return own.Port() == at.Port() && (own.Addr().IsUnspecified() || own.Addr() == at.Addr() || own.Addr().IsLoopback() && at.Addr().IsLoopback())
}

const originalDst = "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"

// rebase copies resources with loopback addresses in place of their own. Where
// the proxy asks a DNS server, what that names is left alone.
func rebase(resources []*discovery.Resource, e *echoes, asks bool) (*plan, error) {
	p := &plan{bound: map[string]boundListener{}, asks: asks}
	sans := map[string]string{} // what an endpoint of the cluster must prove to be
	for _, r := range resources {
		r = proto.CloneOf(r)
		m, err := r.GetResource().UnmarshalNew()
		if err != nil {
			return nil, fmt.Errorf("resource %q: %w", r.GetName(), err)
		}
		if err := e.pki.ownFiles(m); err != nil {
			return nil, fmt.Errorf("resource %q: %w", r.GetName(), err)
		}
		switch m := m.(type) {
		case *listener.Listener:
			if !asks {
				dropLookups(m)
			}
			if err = logged(m); err == nil {
				err = p.listener(m)
			}
		case *tls.Secret:
			if checks := m.GetValidationContext(); checks != nil {
				checks.TrustedCa = e.pki.bundle()
				e.pki.trust(checks)
			}
		case *cluster.Cluster:
			sans[m.GetName()] = requiredSAN(m)
			err = p.cluster(m, e)
		case *endpoint.ClusterLoadAssignment:
			err = moveEndpoints(m, m.GetClusterName(), e)
		}
		if err != nil {
			return nil, fmt.Errorf("resource %q: %w", r.GetName(), err)
		}
		if r.Resource, err = anypb.New(m); err != nil {
			return nil, err
		}
		p.resources = append(p.resources, r)
	}
	e.identities(sans)
	return p, nil
}

// listener moves one that binds to a free loopback port, with a PROXY header
// in place of capture. One that does not bind keeps its address: it is only a
// name that restored destinations are looked up by.
func (p *plan) listener(l *listener.Listener) error {
	if l.GetBindToPort() != nil && !l.GetBindToPort().GetValue() {
		return nil
	}
	own := l.GetAddress().GetSocketAddress()
	if own == nil {
		return fmt.Errorf("its address is not a socket address")
	}
	b := boundListener{
		address: net.JoinHostPort(own.GetAddress(), strconv.Itoa(int(own.GetPortValue()))), port: uint16(own.GetPortValue()),
		restores: l.GetUseOriginalDst().GetValue(), // it brings the filter with it
	}
	config, err := anypb.New(&proxyprotocol.ProxyProtocol{})
	if err != nil {
		return err
	}
	filters := []*listener.ListenerFilter{{
		Name: "envoy.filters.listener.proxy_protocol", ConfigType: &listener.ListenerFilter_TypedConfig{TypedConfig: config},
	}}
	for _, f := range l.GetListenerFilters() {
		if f.GetTypedConfig().GetTypeUrl() == originalDst {
			b.restores = true
			continue
		}
		if f.GetTypedConfig().GetTypeUrl() == config.GetTypeUrl() {
			continue // the gateway's own: it takes this test's header
		}
		filters = append(filters, f)
	}
	l.ListenerFilters = filters
	if l.Address = loopback(0); b.own().Addr().IsLoopback() {
		l.GetAddress().GetSocketAddress().Address = own.GetAddress()
	}
	l.AdditionalAddresses, l.SocketOptions, l.Transparent, l.Freebind = nil, nil, nil, nil
	p.bound[l.GetName()] = b
	p.order = append(p.order, l.GetName())
	return nil
}

// cluster moves the endpoints that a cluster carries itself. An original
// destination becomes one echo server: the address it would dial is the
// call's.
func (p *plan) cluster(c *cluster.Cluster, e *echoes) error {
	if bind := c.GetUpstreamBindConfig(); bind != nil {
		bind.SocketOptions = nil // a mark needs a capability that a test has no use for
	}
	named := c.GetClusterType().GetName() == "envoy.clusters.dynamic_forward_proxy"
	chosen := c.GetType() == cluster.Cluster_ORIGINAL_DST || named
	switch {
	case c.GetType() == cluster.Cluster_EDS, named && p.asks:
		return nil
	case chosen:
		port, err := e.listen(c.GetName(), anyEndpoint)
		if err != nil {
			return err
		}
		c.ClusterDiscoveryType = &cluster.Cluster_Type{Type: cluster.Cluster_STATIC}
		c.LbPolicy, c.LbConfig, c.CleanupInterval = cluster.Cluster_ROUND_ROBIN, nil, nil
		c.LoadAssignment = &endpoint.ClusterLoadAssignment{ClusterName: c.GetName(), Endpoints: []*endpoint.LocalityLbEndpoints{{
			LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: loopback(port)}}}},
		}}}
		return nil
	}
	c.ClusterDiscoveryType = &cluster.Cluster_Type{Type: cluster.Cluster_STATIC}
	c.DnsRefreshRate, c.DnsFailureRefreshRate, c.RespectDnsTtl, c.DnsJitter = nil, nil, false, nil
	return moveEndpoints(c.GetLoadAssignment(), c.GetName(), e)
}

// dropLookups takes out filters that look up the server name, which names
// nothing here.
func dropLookups(l *listener.Listener) {
	for _, chain := range l.GetFilterChains() {
		chain.Filters = slices.DeleteFunc(chain.Filters, func(f *listener.Filter) bool {
			return f.GetName() == "envoy.filters.network.sni_dynamic_forward_proxy"
		})
	}
}

// moveEndpoints gives each endpoint of a cluster an echo server.
func moveEndpoints(a *endpoint.ClusterLoadAssignment, cluster string, e *echoes) error {
	for _, l := range a.GetEndpoints() {
		for _, lb := range l.GetLbEndpoints() {
			own := lb.GetEndpoint().GetAddress()
			at := net.JoinHostPort(own.GetSocketAddress().GetAddress(), strconv.Itoa(int(own.GetSocketAddress().GetPortValue())))
			if path := own.GetPipe().GetPath(); path != "" {
				at = "unix://" + path
			}
			port, err := e.listen(cluster, at)
			if err != nil {
				return err
			}
			lb.GetEndpoint().Address = loopback(port)
		}
	}
	return nil
}

func loopback(port int) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// requiredSAN is the first exact name that a cluster accepts in the
// certificate of its endpoints; "" when it asks for none.
func requiredSAN(c *cluster.Cluster) string {
	for _, s := range sockets(c) {
		outer, context := &upstreamproxy.ProxyProtocolUpstreamTransport{}, &tls.UpstreamTlsContext{}
		if s.GetTypedConfig().UnmarshalTo(outer) == nil {
			s = outer.GetTransportSocket()
		}
		if s.GetTypedConfig().UnmarshalTo(context) != nil {
			continue
		}
		v := context.GetCommonTlsContext().GetCombinedValidationContext().GetDefaultValidationContext()
		if v == nil {
			v = context.GetCommonTlsContext().GetValidationContext()
		}
		for _, san := range v.GetMatchTypedSubjectAltNames() {
			if name := san.GetMatcher().GetExact(); name != "" {
				return name
			}
		}
	}
	return ""
}
