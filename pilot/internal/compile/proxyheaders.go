package compile

import (
	"google.golang.org/protobuf/types/known/wrapperspb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// compileProxySettings reads what the pilot has a say in of a ProxyConfig. What
// that leaves open is as in base.
//
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.
func compileProxySettings(base model.ProxySettings, in *mesh.ProxyConfig, at diag.Path, d *diag.List) (out model.ProxySettings) {
	out = base
	if t := in.GetGatewayTopology(); t != nil {
		if n := t.GetNumTrustedProxies(); n > 0 {
			out.Edge.TrustedProxies = n
		}
		out.Edge.ProxyProtocol = out.Edge.ProxyProtocol || t.GetProxyProtocol() != nil
		compileForward(&out.Edge.ClientCert, t.GetForwardClientCertDetails(), at.Field("gatewayTopology.forwardClientCertDetails"), d)
	}
	if c := in.GetConnectionSettings(); c != nil {
		compileConnections(&out.Connections, c, at.Field("connectionSettings"), d)
	}
	compileProxyHeaders(&out.Headers, in.GetProxyHeaders(), at.Field("proxyHeaders"), d)
	return out
}

// ownProxy reads what a pod says of its own proxy; nil: nothing but what is for
// all. An annotation that cannot be read is the injector's to refuse.
func ownProxy(o *config.Object, in scope, d *diag.List) *model.ProxySettings {
	text := o.Annotations[config.ProxyAnnotation]
	if text == "" {
		return nil
	}
	own, err := config.ParseProxyConfig(text)
	if err != nil || own.GetGatewayTopology() == nil && own.GetProxyHeaders() == nil && own.GetConnectionSettings() == nil {
		return nil
	}
	base := in.settings().ProxySettings
	out := compileProxySettings(base, own, diag.Path("metadata.annotations").Key(config.ProxyAnnotation), d)
	if out == base {
		return nil
	}
	return &out
}

// maxServer bounds the header server in bytes: a class is kept for each.
const maxServer = 256

// compileProxyHeaders reads proxyHeaders into out.
//
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.ProxyHeaders.
func compileProxyHeaders(out *model.ProxyHeaders, in *mesh.ProxyConfig_ProxyHeaders, at diag.Path, d *diag.List) {
	compileForward(&out.ClientCert, in.GetForwardedClientCert(), at.Field("forwardedClientCert"), d)
	if name, at := in.GetServer().GetValue(), at.Field("server").Field("value"); len(name) > maxServer {
		d.Add(diag.Invalid, at, "has %d bytes; at most %d go into every answer; what holds without it is in force", len(name), maxServer)
	} else if name != "" && checkText(name, at, d) {
		out.Server = name
	}
	yes := func(into *bool, said *wrapperspb.BoolValue) {
		if said != nil {
			*into = said.GetValue()
		}
	}
	yes(&out.KeepServer, in.GetServer().GetDisabled())
	yes(&out.NoRequestID, in.GetRequestId().GetDisabled())
	yes(&out.NoAttemptCount, in.GetAttemptCount().GetDisabled())
	yes(&out.NoDebug, in.GetEnvoyDebugHeaders().GetDisabled())
	yes(&out.KeepCase, in.GetPreserveHttp1HeaderCase())
	yes(&out.ForwardedHost, in.GetXForwardedHost().GetEnabled())
	yes(&out.ForwardedPort, in.GetXForwardedPort().GetEnabled())
	no := func(into *bool, said *wrapperspb.BoolValue) {
		if said != nil {
			*into = !said.GetValue()
		}
	}
	c := in.GetSetCurrentClientCertDetails()
	no(&out.CertDetails.NoSubject, c.GetSubject())
	no(&out.CertDetails.NoDNS, c.GetDns())
	no(&out.CertDetails.NoURI, c.GetUri())
	yes(&out.CertDetails.Cert, c.GetCert())
	yes(&out.CertDetails.Chain, c.GetChain())
}

// compileForward reads what becomes of X-Forwarded-Client-Cert. A value that is
// none leaves what there is.
func compileForward(out *model.ForwardClientCert, in mesh.ForwardClientCertDetails, at diag.Path, d *diag.List) {
	switch in {
	case mesh.ForwardClientCertDetails_UNDEFINED:
	case mesh.ForwardClientCertDetails_SANITIZE:
		*out = model.ForwardSanitize
	case mesh.ForwardClientCertDetails_FORWARD_ONLY:
		*out = model.ForwardOnly
	case mesh.ForwardClientCertDetails_APPEND_FORWARD:
		*out = model.ForwardAppend
	case mesh.ForwardClientCertDetails_SANITIZE_SET:
		*out = model.ForwardSet
	case mesh.ForwardClientCertDetails_ALWAYS_FORWARD_ONLY:
		*out = model.ForwardAlways
	default:
		d.Add(diag.Invalid, at, "%d is none; what holds without it is in force", in)
	}
}
