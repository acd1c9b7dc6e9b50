package compile

import (
	"google.golang.org/protobuf/types/known/wrapperspb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// compileProxyHeaders reads defaultConfig.proxyHeaders; nil says nothing.
//
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.ProxyHeaders.
func compileProxyHeaders(in *mesh.ProxyConfig_ProxyHeaders, at diag.Path, d *diag.List) (out model.ProxyHeaders) {
	out = model.ProxyHeaders{
		ClientCert:     compileForward(in.GetForwardedClientCert(), at.Field("forwardedClientCert"), d),
		KeepServer:     in.GetServer().GetDisabled().GetValue(),
		NoRequestID:    in.GetRequestId().GetDisabled().GetValue(),
		NoAttemptCount: in.GetAttemptCount().GetDisabled().GetValue(),
		NoDebug:        in.GetEnvoyDebugHeaders().GetDisabled().GetValue(),
		KeepCase:       in.GetPreserveHttp1HeaderCase().GetValue(),
		ForwardedHost:  in.GetXForwardedHost().GetEnabled().GetValue(),
		ForwardedPort:  in.GetXForwardedPort().GetEnabled().GetValue(),
	}
	if name := in.GetServer().GetValue(); checkText(name, at.Field("server").Field("value"), d) {
		out.Server = name
	}
	no := func(set *wrapperspb.BoolValue) bool { return set != nil && !set.GetValue() }
	if c := in.GetSetCurrentClientCertDetails(); c != nil {
		out.CertDetails = model.CertDetails{
			NoSubject: no(c.GetSubject()), NoDNS: no(c.GetDns()), NoURI: no(c.GetUri()),
			Cert: c.GetCert().GetValue(), Chain: c.GetChain().GetValue(),
		}
	}
	return out
}

// compileForward reads what becomes of X-Forwarded-Client-Cert. Of a value that
// is none the default is in force.
func compileForward(in mesh.ForwardClientCertDetails, at diag.Path, d *diag.List) model.ForwardClientCert {
	switch in {
	case mesh.ForwardClientCertDetails_UNDEFINED:
	case mesh.ForwardClientCertDetails_SANITIZE:
		return model.ForwardSanitize
	case mesh.ForwardClientCertDetails_FORWARD_ONLY:
		return model.ForwardOnly
	case mesh.ForwardClientCertDetails_APPEND_FORWARD:
		return model.ForwardAppend
	case mesh.ForwardClientCertDetails_SANITIZE_SET:
		return model.ForwardSet
	case mesh.ForwardClientCertDetails_ALWAYS_FORWARD_ONLY:
		return model.ForwardAlways
	default:
		d.Add(diag.Invalid, at, "%d is none; the default is in force", in)
	}
	return model.ForwardDefault
}
