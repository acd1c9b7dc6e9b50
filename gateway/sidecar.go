package gateway

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// SidecarTLS reads the tls of a Sidecar's ingress listener, found at path at:
// SIMPLE or MUTUAL, from files that the proxy has. ok is false if it cannot be
// served as meant, which is reported to d.
//
// Source: istio.io/api networking/v1alpha3, IstioIngressListener.tls.
func SidecarTLS(in *networking.ServerTLSSettings, at diag.Path, d *diag.List) (out *model.ServerTLS, ok bool) {
	switch {
	case in.GetMode() != networking.ServerTLSSettings_SIMPLE && in.GetMode() != networking.ServerTLSSettings_MUTUAL:
		d.Add(diag.Invalid, at.Field("mode"), "must be SIMPLE or MUTUAL for a Sidecar, not %s; the listener is left out", in.GetMode())
		return nil, false
	case in.GetCredentialName() != "" || len(in.GetCredentialNames()) > 0 || in.GetCaCertCredentialName() != "":
		d.Add(diag.Invalid, at.Field("credentialName"), "a Sidecar's listener takes serverCertificate and privateKey, files in the proxy's container; the listener is left out")
		return nil, false
	}
	c := &compiler{d: d, gateway: &model.Gateway{}}
	return c.tls(&networking.Server{Tls: in}, &model.Server{Protocol: model.ProtocolTLS}, at)
}
