package compile

import (
	"maps"
	"slices"
	"strconv"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// compilePeerAuthentication reads one PeerAuthentication: of the mesh, a
// namespace, or with a selector of workloads.
//
// Source: istio.io/api security/v1beta1, message PeerAuthentication. Port
// modes count with a selector only.
func compilePeerAuthentication(o *config.Object, _ scope, d *diag.List) *model.PeerAuth {
	in, ok := o.Spec.(*security.PeerAuthentication)
	if !ok {
		return nil
	}
	out := &model.PeerAuth{
		Namespace: o.Namespace, Name: o.Name, Origin: origin(o, "security.istio.io", "peer-authentication"), Rank: rank(o),
		Selector: in.GetSelector().GetMatchLabels(),
	}
	if len(out.Selector) == 0 {
		out.Selector = nil
	}
	if mode, ok := mtlsMode(in.GetMtls(), "spec.mtls.mode", d); ok {
		out.Mode = &mode
	}
	readPortModes(in, out, d)
	strictOf(o, out, d)
	return out
}

func readPortModes(in *security.PeerAuthentication, out *model.PeerAuth, d *diag.List) {
	at := diag.Path("spec.portLevelMtls")
	if len(in.GetPortLevelMtls()) > 0 && out.Selector == nil {
		d.Add(diag.Invalid, at, "port modes need a selector; they have no effect")
		return
	}
	for _, port := range slices.Sorted(maps.Keys(in.GetPortLevelMtls())) {
		m := in.GetPortLevelMtls()[port]
		if port == 0 || port > 65535 {
			d.Add(diag.Invalid, at, "%d is not a port", port)
			continue
		}
		if mode, ok := mtlsMode(m, at.Key(strconv.FormatUint(uint64(port), 10)).Field("mode"), d); ok {
			if out.Ports == nil {
				out.Ports = map[uint32]model.MTLSMode{}
			}
			out.Ports[port] = mode
		}
	}
}

// mtlsMode is false for UNSET, which inherits.
func mtlsMode(m *security.PeerAuthentication_MutualTLS, at diag.Path, d *diag.List) (model.MTLSMode, bool) {
	switch m.GetMode() {
	case security.PeerAuthentication_MutualTLS_DISABLE:
		return model.MTLSDisable, true
	case security.PeerAuthentication_MutualTLS_PERMISSIVE:
		return model.MTLSPermissive, true
	case security.PeerAuthentication_MutualTLS_STRICT:
		return model.MTLSStrict, true
	case security.PeerAuthentication_MutualTLS_UNSET:
		return model.MTLSPermissive, false
	}
	d.Add(diag.Unread, at, "%d is no mode, so it is STRICT", m.GetMode())
	return model.MTLSStrict, true
}
