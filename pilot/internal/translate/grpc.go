package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// The resources of processes whose gRPC library speaks xDS. What they take is in
// gRPC's proposals: A27 (resources), A28 (routes), A29 and A36 (mTLS, servers),
// A31 (time-outs), A32 (limits), A33 (faults), A41 (rights), A42 (hash), A44 (retries), A48
// (least request), A50 (outliers). A resource with anything else in it that they
// know but do not have is refused as a whole, so that nothing else is sent.

// grpcClientOutputs are, for each virtual host, one listener a name by which a
// client may ask for it, and one route table of it alone: an edit of a
// VirtualService sends the tables of its hosts and nothing else.
func grpcClientOutputs(t *Translator) []*output {
	return []*output{
		newOutput(snapshot.Cluster, each(t, t.in.clusters, (*builder).grpcCluster), fixed(t, (*builder).grpcNowhere)),
		newOutput(snapshot.Endpoint, each(t, t.in.assignments, (*builder).grpcAssignment), fixed(t, (*builder).grpcNobody)),
		newOutput(snapshot.Listener, several(t, t.in.hosts, (*builder).grpcListeners)),
		newOutput(snapshot.Route, each(t, t.in.hosts, (*builder).grpcTable)),
	}
}

func grpcServerOutputs(t *Translator) []*output {
	return []*output{newOutput(snapshot.Listener, several(t, t.in.inbound, (*builder).grpcServers))}
}

// grpcListeners are named as a client asks for them: the target of
// xds:///HOST:PORT. Source: gRFC A27, Listener with api_listener.
func (b *builder) grpcListeners(h *model.VirtualHost) (out []message) {
	for _, domain := range h.Domains {
		if _, err := netip.ParseAddr(strings.Trim(domain, "[]")); err == nil || strings.Contains(domain, "*") {
			continue
		}
		manager := &hcm.HttpConnectionManager{StatPrefix: "grpc", RouteSpecifier: rds(grpcTableName(h)), HttpFilters: b.filters()}
		name := domain + ":" + h.Table
		out = append(out, message{name: name, body: &listener.Listener{Name: name, ApiListener: &listener.ApiListener{ApiListener: b.pack(manager)}}})
	}
	return out
}

// grpcTableName is Istio's name of a service's routes: outbound|PORT||HOST.
func grpcTableName(h *model.VirtualHost) string {
	return clustername.Name{Direction: clustername.Outbound, Port: h.Table, Host: strings.TrimSuffix(h.Name, ":"+h.Table)}.String()
}

// grpcTable renders a virtual host as a table of its own: the listener chose it
// already, so that its one domain is "*".
func (b *builder) grpcTable(h *model.VirtualHost) message {
	vh := &route.VirtualHost{Name: h.Name, Domains: []string{"*"}}
	var origins []model.Origin
	for _, r := range h.Routes {
		vh.Routes = append(vh.Routes, b.grpcRoutes(r, h.Name)...)
		origins = append(origins, r.Origin)
	}
	name := grpcTableName(h)
	return message{name: name, body: &route.RouteConfiguration{Name: name, VirtualHosts: []*route.VirtualHost{vh}}, sources: distinct(sourcesOf(origins...))}
}

// GRPCServerName is the name of a server's listener at ADDRESS:PORT.
// Source: gRFC A36, server_listener_resource_name_template; Istio has the same.
const GRPCServerName = "xds.istio.io/grpc/lds/inbound/%s"

// grpcServers are the listeners of a pod's gRPC servers, for servers that listen
// on all addresses: a listener's name holds the address, and a pod's own address
// would make a class of every pod.
func (b *builder) grpcServers(in *model.Inbound) (out []message) {
	for _, p := range in.Ports {
		for _, at := range []struct{ ip, text string }{{"0.0.0.0", "0.0.0.0"}, {"::", "[::]"}} {
			name := fmt.Sprintf(GRPCServerName, fmt.Sprintf("%s:%d", at.text, p.Port))
			out = append(out, message{name: name, sources: sourcesOf(slices.Concat(in.Policies, b.rightsOrigins())...), body: &listener.Listener{
				Name: name, Address: address(at.ip, p.Port), DefaultFilterChain: b.grpcChain(p),
			}})
		}
	}
	return out
}

// grpcChain takes mesh mTLS where it is STRICT, else plaintext: gRPC cannot tell
// the two apart on one port (gRFC A36, filter_chain_match).
func (b *builder) grpcChain(p model.InboundPort) *listener.FilterChain {
	manager := &hcm.HttpConnectionManager{StatPrefix: p.Cluster, HttpFilters: append(b.grpcRights(), b.filters()...), RouteSpecifier: &hcm.HttpConnectionManager_RouteConfig{
		RouteConfig: &route.RouteConfiguration{Name: p.Cluster, VirtualHosts: []*route.VirtualHost{{
			Name: p.Cluster, Domains: []string{"*"}, Routes: []*route.Route{{
				Match:  &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
				Action: &route.Route_NonForwardingAction{NonForwardingAction: &route.NonForwardingAction{}},
			}},
		}}},
	}}
	out := &listener.FilterChain{Name: p.Cluster, Filters: []*listener.Filter{b.filter(managerFilter, manager)}}
	if p.Mode == model.MTLSStrict {
		out.TransportSocket = b.socket(&tls.DownstreamTlsContext{CommonTlsContext: grpcContext(nil), RequireClientCertificate: wrapperspb.Bool(true)})
	}
	return out
}

// grpcContext is the mesh's own mTLS, by the certificate provider "default" of
// the process's bootstrap. names are what the peer must have one of; none: any
// peer that the root has signed.
func grpcContext(names []string) *tls.CommonTlsContext {
	provider := func(certificate string) *tls.CertificateProviderPluginInstance {
		return &tls.CertificateProviderPluginInstance{InstanceName: "default", CertificateName: certificate}
	}
	checks := &tls.CertificateValidationContext{CaCertificateProviderInstance: provider("ROOTCA")}
	for _, name := range names {
		// gRPC reads the older field alone.
		checks.MatchSubjectAltNames = append(checks.MatchSubjectAltNames, exactly(name)) //nolint:staticcheck // see above
	}
	return &tls.CommonTlsContext{
		TlsCertificateProviderInstance: provider("default"),
		ValidationContextType:          &tls.CommonTlsContext_ValidationContext{ValidationContext: checks},
	}
}
