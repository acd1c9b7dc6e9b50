package translate

import (
	"cmp"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	http "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/model"
)

// wire is the protocol spoken to an endpoint.
type wire int

const (
	http1 wire = iota
	http2
	useClients // what the client speaks
)

// wireOf follows the port's protocol and, over it, the DestinationRule; the
// mesh's h2UpgradePolicy is for ports that are declared HTTP.
func (b *builder) wireOf(p model.Protocol, pool *model.ConnectionPool) wire {
	switch {
	case pool != nil && pool.UseClientProtocol:
		return useClients
	case pool != nil && pool.H2Upgrade == model.H2Always && !p.IsHTTP2():
		return http2
	case p.IsHTTP2():
		return http2
	case p == model.ProtocolHTTP && b.Defaults.H2Upgrade && (pool == nil || pool.H2Upgrade == model.H2Default):
		return http2
	case p == model.ProtocolAuto:
		return useClients
	default: // HTTP within bytes is a tunnel's, or a rule's own TLS around requests (Istio)
		return http1
	}
}

// protocolOptions are a cluster's HTTP settings.
// Source: envoy.extensions.upstreams.http.v3.HttpProtocolOptions.
func (b *builder) protocolOptions(w wire, t *model.Traffic) map[string]*anypb.Any {
	pool := t.Pool
	if pool == nil {
		pool = &model.ConnectionPool{}
	}
	out := &http.HttpProtocolOptions{CommonHttpProtocolOptions: &core.HttpProtocolOptions{
		IdleTimeout: span(cmp.Or(pool.HTTPIdleTimeout, pool.TCPIdleTimeout)), MaxConnectionDuration: span(pool.MaxConnectionDuration), MaxRequestsPerConnection: number(pool.MaxRequestsPerConn),
	}}
	out.UpstreamHttpProtocolOptions = autoSNI(t.TLS)
	out.OutlierDetection = errorsOf(t.Outlier)
	switch w {
	case useClients:
		out.UpstreamProtocolOptions = &http.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &http.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: b.http1Options(), Http2ProtocolOptions: http2Options(pool),
			},
		}
	case http2:
		out.UpstreamProtocolOptions = explicit(&http.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &http.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2Options(pool)},
		})
	default:
		out.UpstreamProtocolOptions = explicit(&http.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &http.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: b.http1Options()},
		})
	}
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": b.pack(out)}
}

// autoSNI sends the request's host as the server name of a DestinationRule's
// own TLS, and has the certificate checked against it, where the rule names
// neither (Istio, ClientTLSSettings).
func autoSNI(t *model.ClientTLS) *core.UpstreamHttpProtocolOptions {
	if t == nil || t.Mode != model.TLSSimple && t.Mode != model.TLSMutual || t.SNI != "" {
		return nil
	}
	return &core.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: len(t.SANs) == 0 && !t.InsecureSkipVerify}
}

func explicit(c *http.HttpProtocolOptions_ExplicitHttpConfig) *http.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &http.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: c}
}

func http2Options(pool *model.ConnectionPool) *core.Http2ProtocolOptions {
	out := &core.Http2ProtocolOptions{MaxConcurrentStreams: number(pool.MaxConcurrentStreams)}
	if pool.HTTP2KeepaliveTime > 0 {
		out.ConnectionKeepalive = &core.KeepaliveSettings{Interval: span(pool.HTTP2KeepaliveTime), Timeout: span(pool.HTTP2KeepaliveTimeout)}
	}
	return out
}
