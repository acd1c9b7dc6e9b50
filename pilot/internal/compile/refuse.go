package compile

import (
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// refused is the value of a kind that Weft does not have: there is none.
type refused struct{}

// refusedKinds are kinds of which every object is reported. A security rule
// that is not enforced is said to be so, never ignored.
func refusedKinds() []config.Kind {
	return []config.Kind{
		config.AuthorizationPolicy, config.RequestAuthentication, config.ServiceEntry, config.Sidecar, config.WorkloadEntry,
		config.WorkloadGroup, config.EnvoyFilter, config.ProxyConfig, config.Telemetry,
	}
}

func refuse(o *config.Object, _ scope, d *diag.List) *refused {
	switch o.Kind {
	case config.AuthorizationPolicy, config.RequestAuthentication:
		d.Add(diag.NotEnforced, "", "%s is not enforced", o.Kind)
	default:
		d.Add(diag.KindNotSupported, "", "%s is not supported yet; it has no effect", o.Kind)
	}
	return nil
}
