package translate

import (
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

const managerFilter = "envoy.filters.network.http_connection_manager"

// manager is what every HTTP connection manager has.
// Source: envoy.extensions.filters.network.http_connection_manager.v3.
func (b *builder) manager(prefix string, s side) *hcm.HttpConnectionManager {
	return &hcm.HttpConnectionManager{
		StatPrefix: prefix, CodecType: hcm.HttpConnectionManager_AUTO, HttpFilters: b.filters(), AccessLog: append(b.accessLogs(), b.httpMetrics(s)),
		HttpProtocolOptions:          &core.Http1ProtocolOptions{AcceptHttp_10: b.HTTP10},
		ServerName:                   "istio-envoy",
		NormalizePath:                wrapperspb.Bool(true),
		PathWithEscapedSlashesAction: hcm.HttpConnectionManager_KEEP_UNCHANGED,
		StreamIdleTimeout:            durationpb.New(0),
		RequestTimeout:               durationpb.New(0),
		UpgradeConfigs:               []*hcm.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		StripTrailingHostDot:         true,
		CommonHttpProtocolOptions:    &core.HttpProtocolOptions{},
	}
}

// rds takes the routes from the pilot.
func rds(table string) *hcm.HttpConnectionManager_Rds {
	return &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{ConfigSource: ads(), RouteConfigName: table}}
}

// sidecarManager serves the app's own requests.
func (b *builder) sidecarManager(prefix, table string) *listener.Filter {
	m := b.manager(prefix, clientSide())
	m.RouteSpecifier = rds(table)
	// The app's word on where it is from is not its proxy's to check.
	m.UseRemoteAddress = wrapperspb.Bool(false)
	m.ForwardClientCertDetails = hcm.HttpConnectionManager_SANITIZE
	return b.filter(managerFilter, m)
}

// routerManager serves requests from outside the mesh: it trusts no header
// about who the client is, but for what the trusted proxies before it wrote.
func (b *builder) routerManager(prefix, table string) *listener.Filter {
	m := b.manager(prefix, clientSide())
	m.RouteSpecifier = rds(table)
	m.UseRemoteAddress = wrapperspb.Bool(true)
	m.XffNumTrustedHops = b.Edge.TrustedProxies
	m.ForwardClientCertDetails = hcm.HttpConnectionManager_SANITIZE_SET
	m.SetCurrentClientCertDetails = &hcm.HttpConnectionManager_SetCurrentClientCertDetails{Subject: wrapperspb.Bool(true), Cert: true, Dns: true, Uri: true}
	return b.filter(managerFilter, m)
}

// appManager serves requests to the app. As in Istio a request that the app
// cannot have seen, since its idle connection closed, is sent again. The app
// sees who asks in the last element of X-Forwarded-Client-Cert; those before it
// are the word of that peer, such as a gateway that checked its client's
// certificate. Without mTLS the header is removed, and so are gateways' and
// apps' own by routerManager and sidecarManager: nobody outside of the mesh
// can forge one.
func (b *builder) appManager(p model.InboundPort, s side) *listener.Filter {
	m := b.manager("inbound_"+p.Cluster, s)
	m.UseRemoteAddress = wrapperspb.Bool(false)
	m.ForwardClientCertDetails = hcm.HttpConnectionManager_APPEND_FORWARD
	m.SetCurrentClientCertDetails = &hcm.HttpConnectionManager_SetCurrentClientCertDetails{Subject: wrapperspb.Bool(true), Uri: true, Dns: true}
	m.RouteSpecifier = &hcm.HttpConnectionManager_RouteConfig{RouteConfig: &route.RouteConfiguration{
		Name: p.Cluster, ValidateClusters: wrapperspb.Bool(false),
		VirtualHosts: []*route.VirtualHost{{Name: "inbound|http|" + portText(p.Port), Domains: []string{"*"}, Routes: []*route.Route{{
			Name: "default", Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Decorator: &route.Decorator{Operation: operation(p)},
			Action: &route.Route_Route{Route: &route.RouteAction{
				ClusterSpecifier: &route.RouteAction_Cluster{Cluster: p.Cluster}, Timeout: durationpb.New(0),
				RetryPolicy: &route.RetryPolicy{RetryOn: "reset-before-request", NumRetries: wrapperspb.UInt32(2)},
			}},
		}}}},
	}}
	return b.filter(managerFilter, m)
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

// detectionTimeout is how long a connection may say nothing before it counts
// as bytes.
func (b *builder) detectionTimeout() *durationpb.Duration {
	if b.ProtocolDetectionTimeout > 0 {
		return durationpb.New(b.ProtocolDetectionTimeout)
	}
	return durationpb.New(5 * time.Second)
}
