package translate

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	preservecase "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// ownHeaders are the headers that every proxy writes, or does not.
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.ProxyHeaders.
func (b *builder) ownHeaders(m *hcm.HttpConnectionManager) {
	if b.Headers.Server != "" {
		m.ServerName = b.Headers.Server
	}
	if b.Headers.KeepServer {
		m.ServerName, m.ServerHeaderTransformation = "", hcm.HttpConnectionManager_PASS_THROUGH
	}
	if b.Headers.NoRequestID {
		m.GenerateRequestId = wrapperspb.Bool(false)
	}
	m.AppendXForwardedPort = b.Headers.ForwardedPort
}

// http1Options are those of HTTP/1 towards clients and endpoints.
func (b *builder) http1Options() *core.Http1ProtocolOptions {
	if !b.Headers.KeepCase {
		return &core.Http1ProtocolOptions{}
	}
	return &core.Http1ProtocolOptions{HeaderKeyFormat: &core.Http1ProtocolOptions_HeaderKeyFormat{
		HeaderFormat: &core.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{StatefulFormatter: &core.TypedExtensionConfig{
			Name: "preserve_case", TypedConfig: b.pack(&preservecase.PreserveCaseFormatterConfig{}),
		}},
	}}
}

// routerConfig is that of the filter that ends every chain.
func (b *builder) routerConfig() *router.Router {
	return &router.Router{SuppressEnvoyHeaders: b.Headers.NoDebug}
}

// clientCert says what becomes of X-Forwarded-Client-Cert, and what is written
// of the client's certificate where anything is.
func clientCert(m *hcm.HttpConnectionManager, how hcm.HttpConnectionManager_ForwardClientCertDetails, details *hcm.HttpConnectionManager_SetCurrentClientCertDetails) {
	m.ForwardClientCertDetails = how
	if how == hcm.HttpConnectionManager_APPEND_FORWARD || how == hcm.HttpConnectionManager_SANITIZE_SET {
		m.SetCurrentClientCertDetails = details
	}
}

func forwarding(how, otherwise model.ForwardClientCert) hcm.HttpConnectionManager_ForwardClientCertDetails {
	switch how {
	case model.ForwardDefault:
		return forwarding(otherwise, model.ForwardSanitize)
	case model.ForwardOnly:
		return hcm.HttpConnectionManager_FORWARD_ONLY
	case model.ForwardAppend:
		return hcm.HttpConnectionManager_APPEND_FORWARD
	case model.ForwardSet:
		return hcm.HttpConnectionManager_SANITIZE_SET
	case model.ForwardAlways:
		return hcm.HttpConnectionManager_ALWAYS_FORWARD_ONLY
	default:
		return hcm.HttpConnectionManager_SANITIZE
	}
}

// callerDetails are what a server's sidecar writes of its caller's certificate.
func (b *builder) callerDetails() *hcm.HttpConnectionManager_SetCurrentClientCertDetails {
	d := b.Headers.CertDetails
	return &hcm.HttpConnectionManager_SetCurrentClientCertDetails{
		Subject: wrapperspb.Bool(!d.NoSubject), Dns: !d.NoDNS, Uri: !d.NoURI, Cert: d.Cert, Chain: d.Chain,
	}
}
