package translate

import (
	"slices"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

const managerFilter = "envoy.filters.network.http_connection_manager"

// manager is what every HTTP connection manager has.
// Source: envoy.extensions.filters.network.http_connection_manager.v3.
func (b *builder) manager(prefix string, s side) *hcm.HttpConnectionManager {
	out := &hcm.HttpConnectionManager{
		StatPrefix: prefix, CodecType: hcm.HttpConnectionManager_AUTO, HttpFilters: b.filters(), AccessLog: append(append(b.accessLogs(model.TCPLogs), b.httpMetrics(s)...), b.httpTap(s)),
		HttpProtocolOptions:       b.http1Options(),
		ServerName:                "istio-envoy",
		StreamIdleTimeout:         durationpb.New(0),
		RequestTimeout:            durationpb.New(0),
		UpgradeConfigs:            []*hcm.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		StripTrailingHostDot:      true,
		CommonHttpProtocolOptions: &core.HttpProtocolOptions{},
	}
	if every := b.interval(grpcMessages); every != nil {
		out.AccessLogOptions = &hcm.HttpConnectionManager_HcmAccessLogOptions{AccessLogFlushInterval: every}
	}
	out.HttpProtocolOptions.AcceptHttp_10 = b.HTTP10
	b.ownHeaders(out)
	b.traced(out)
	b.paths(out)
	if b.class.Role == model.RoleRouter {
		b.bounded(out)
	}
	b.connections(out)
	return out
}

// rds takes the routes from the pilot.
func rds(table string) *hcm.HttpConnectionManager_Rds {
	return &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{ConfigSource: ads(), RouteConfigName: table}}
}

// sidecarManager serves the app's own requests.
func (b *builder) sidecarManager(prefix string, c *model.HTTPChain) *listener.Filter {
	m := b.outboundManager(prefix, c)
	m.RouteSpecifier = rds(c.Table)
	return b.filter(managerFilter, m)
}

// outboundManager is sidecarManager's, without its routes.
func (b *builder) outboundManager(prefix string, c *model.HTTPChain) *hcm.HttpConnectionManager {
	m := b.manager(prefix, clientSide())
	b.grpcWeb(m, c.GRPCWeb)
	if c.Asked || b.OutboundAsked != nil {
		m.HttpFilters = slices.Insert(m.HttpFilters, len(m.HttpFilters)-1, b.askHost())
	}
	// The app's word on where it is from is not its proxy's to check.
	m.UseRemoteAddress = wrapperspb.Bool(false)
	m.ForwardClientCertDetails = hcm.HttpConnectionManager_SANITIZE
	return m
}

// routerManager serves requests from outside the mesh: it trusts no header
// about who the client is, but for what the trusted proxies before it wrote.
func (b *builder) routerManager(prefix string, c *model.HTTPChain, as form) *listener.Filter {
	m := b.manager(prefix, clientSide())
	b.guard(m, as)
	b.grpcWeb(m, c.GRPCWeb)
	if c.Asked {
		m.HttpFilters = slices.Insert(m.HttpFilters, len(m.HttpFilters)-1, b.askHost())
	}
	m.RouteSpecifier = rds(c.Table)
	m.UseRemoteAddress = wrapperspb.Bool(true)
	m.XffNumTrustedHops = b.Edge.TrustedProxies
	all := &hcm.HttpConnectionManager_SetCurrentClientCertDetails{Subject: wrapperspb.Bool(true), Cert: true, Dns: true, Uri: true}
	clientCert(m, forwarding(b.Edge.ClientCert, model.ForwardSet), all)
	return b.filter(managerFilter, m)
}

// appManager serves requests to the app. As in Istio a request that the app
// cannot have seen, since its idle connection closed, is sent again. The app
// sees who asks in the last element of X-Forwarded-Client-Cert; those before it
// are the word of that peer, such as a gateway that checked its client's
// certificate. Without mTLS the header is removed, and so are gateways' and
// apps' own by routerManager and sidecarManager: nobody outside of the mesh
// can forge one.
func (b *builder) appManager(p model.InboundPort, mesh bool) *listener.Filter {
	m := b.manager("inbound_"+p.Cluster, serverSide(p, mesh))
	m.LocalReplyConfig = unreached()
	b.guard(m, whole)
	b.grpcWeb(m, p.Protocol == model.ProtocolGRPCWeb)
	m.UseRemoteAddress = wrapperspb.Bool(false)
	limitAge(m, p)
	if m.GetHttp2ProtocolOptions() == nil {
		m.Http2ProtocolOptions = &core.Http2ProtocolOptions{}
	}
	// A caller's proxy may send a WebSocket over HTTP/2 (RFC 8441), where
	// h2UpgradePolicy says so; it becomes GET before any filter sees it.
	m.GetHttp2ProtocolOptions().AllowConnect = true
	clientCert(m, forwarding(b.Headers.ClientCert, model.ForwardAppend), b.callerDetails())
	m.RouteSpecifier = &hcm.HttpConnectionManager_RouteConfig{RouteConfig: &route.RouteConfiguration{
		Name: p.Cluster, ValidateClusters: wrapperspb.Bool(false), ResponseHeadersToRemove: []string{unreachedHeader},
		VirtualHosts: []*route.VirtualHost{{Name: "inbound|http|" + portText(p.Port), Domains: []string{"*"}, Routes: b.appRoutes(p, mesh)}},
	}}
	return b.filter(managerFilter, m)
}

// unreachedHeader marks an answer by an app's own sidecar, which could not
// connect to the app: it has crashed, or has ended before all callers learned
// of it. The app has not seen the request, so that a caller's sidecar may send
// it elsewhere as if it had itself failed to connect. An app's own header of
// the name is removed, and the caller's sidecar shows it to nobody.
const unreachedHeader = "x-weft-unreached"

// unreached sets unreachedHeader where no connection to the app came about.
// Source: envoy.config.accesslog.v3.ResponseFlagFilter, flag UF.
func unreached() *hcm.LocalReplyConfig {
	return &hcm.LocalReplyConfig{Mappers: []*hcm.ResponseMapper{{
		Filter: &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslog.ResponseFlagFilter{Flags: []string{"UF"}},
		}},
		HeadersToAdd: []*core.HeaderValueOption{{
			Header: &core.HeaderValue{Key: unreachedHeader, Value: "true"}, AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}}}
}

// appRoutes are the way to the app. Callers in the mesh may be told how long it
// took; for gRPC that is another header.
func (b *builder) appRoutes(p model.InboundPort, mesh bool) []*route.Route {
	all := &route.Route{
		Name: "default", Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		Decorator: &route.Decorator{Operation: operation(p)},
		Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier: &route.RouteAction_Cluster{Cluster: p.Cluster}, Timeout: durationpb.New(0),
			RetryPolicy: &route.RetryPolicy{RetryOn: "reset-before-request", NumRetries: wrapperspb.UInt32(2)},
		}},
	}
	if !p.Reports || !mesh {
		return []*route.Route{all}
	}
	grpc := proto.CloneOf(all)
	grpc.Name, grpc.GetMatch().Grpc = "grpc", &route.RouteMatch_GrpcRouteMatchOptions{}
	grpc.TypedPerFilterConfig = map[string]*anypb.Any{reportFilter: b.pack(reportGRPC())}
	all.TypedPerFilterConfig = map[string]*anypb.Any{reportFilter: b.pack(reportHTTP())}
	return []*route.Route{grpc, all}
}

// operation names the app's spans: "reviews.default.svc.cluster.local:9080/*".
func operation(p model.InboundPort) string {
	if p.Service == nil {
		return p.Cluster
	}
	return p.Service.Host + ":" + portText(p.Port) + "/*"
}

// filter wraps a network filter.
func (b *builder) filter(name string, config validated) *listener.Filter {
	return &listener.Filter{Name: name, ConfigType: &listener.Filter_TypedConfig{TypedConfig: b.pack(config)}}
}
