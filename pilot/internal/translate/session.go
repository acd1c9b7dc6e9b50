package translate

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	stateful "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	bycookie "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	byheader "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httptype "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"

	"github.com/weftmesh/weft/internal/model"
)

// sessionOf is what keeps a route's clients where they are: of its first
// destination that has one. A session names an address, which is in one of the
// destinations alone: where another is drawn for a request, a new one begins.
func sessionOf(r *model.Route) *model.Session {
	f, ok := r.Action.(*model.Forward)
	if !ok {
		return nil
	}
	for _, d := range f.Destinations {
		if d.Session != nil && (d.Weight > 0 || len(f.Destinations) == 1) {
			return d.Session
		}
	}
	return nil
}

// session has the first answer name its endpoint, and later requests go there.
// As in Istio the cookie ends with the client's session.
// Source: envoy.extensions.filters.http.stateful_session.v3.
func (b *builder) session(s *model.Session) *stateful.StatefulSessionPerRoute {
	state := &core.TypedExtensionConfig{Name: "envoy.http.stateful_session.cookie"}
	if s.Header != "" {
		state.Name = "envoy.http.stateful_session.header"
		state.TypedConfig = b.pack(&byheader.HeaderBasedSessionState{Name: s.Header})
	} else {
		state.TypedConfig = b.pack(&bycookie.CookieBasedSessionState{Cookie: &httptype.Cookie{Name: s.Cookie, Path: s.Path}})
	}
	return &stateful.StatefulSessionPerRoute{Override: &stateful.StatefulSessionPerRoute_StatefulSession{
		StatefulSession: &stateful.StatefulSession{SessionState: state},
	}}
}

// sessions lets clients with a session go on at endpoints that drain; others
// are sent to none of these. Istio does so.
// Source: envoy.config.cluster.v3.Cluster.CommonLbConfig.override_host_status.
func sessions(out *cluster.Cluster) {
	out.CommonLbConfig.OverrideHostStatus = &core.HealthStatusSet{Statuses: []core.HealthStatus{
		core.HealthStatus_HEALTHY, core.HealthStatus_DRAINING, core.HealthStatus_UNKNOWN, core.HealthStatus_DEGRADED,
	}}
}
