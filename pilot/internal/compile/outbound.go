package compile

import (
	"google.golang.org/protobuf/proto"
	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// compileOutbound reads outboundTrafficPolicy; nil says nothing. A Sidecar has no
// ALLOW_ANY_DYNAMIC_DNS: its policy, if it has one, takes this one off. TLS that cannot
// be had has unknown destinations refused: in clear text they must not be called.
//
// Source: istio.io/api mesh/v1alpha1, message MeshConfig.OutboundTrafficPolicy.
func compileOutbound(in *mesh.MeshConfig_OutboundTrafficPolicy, out *model.Settings, d *diag.List) {
	if in == nil {
		return
	}
	at := diag.Path("outboundTrafficPolicy")
	out.OutboundAllowAny = in.GetMode() == mesh.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY
	if _, known := mesh.MeshConfig_OutboundTrafficPolicy_Mode_name[int32(in.GetMode())]; !known {
		d.Add(diag.Invalid, at.Field("mode"), "%d is none; unknown destinations are refused", in.GetMode())
	}
	if in.GetMode() != mesh.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY_DYNAMIC_DNS {
		if in.GetTls() != nil {
			d.Add(diag.NoEffect, at.Field("tls"), "it is used with mode ALLOW_ANY_DYNAMIC_DNS only")
		}
		return
	}
	asked := &model.AskedUnknown{}
	switch tls := in.GetTls(); tls.GetMode() {
	case networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_MUTUAL:
		asked.TLS = outboundTLS(tls, at.Field("tls"), d)
	case networking.ClientTLSSettings_DISABLE:
	default:
		d.Add(diag.Invalid, at.Field("tls").Field("mode"), "%v: who is unknown has no certificate of the mesh; unknown destinations are refused", tls.GetMode())
		return
	}
	out.OutboundAllowAny, out.OutboundAsked = true, asked
}

// outboundTLS reads what unknown destinations are called with. Certificates are
// files: no Secret is at hand for the sidecars of all namespaces.
func outboundTLS(in *networking.ClientTLSSettings, at diag.Path, d *diag.List) *model.ClientTLS {
	secret := in.GetCredentialName() != ""
	if secret {
		d.Add(diag.Invalid, at.Field("credentialName"), "sidecars of all namespaces cannot have one Secret; name files; connections fail")
		in = proto.CloneOf(in)
		in.CredentialName = ""
	}
	out := traffic{d: d}.tls(in, at)
	out.Lacking = out.Lacking || secret
	return out
}
