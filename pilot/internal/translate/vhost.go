package translate

import (
	"google.golang.org/protobuf/types/known/wrapperspb"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/model"
)

// maxBody bounds a direct response's body, in bytes: Istio's limit.
const maxBody = 1 << 20

// host renders a virtual host as a resource of its own, "TABLE/NAME" (VHDS).
// Source: envoy.config.route.v3.VirtualHost.
func (b *builder) host(h *model.VirtualHost) message {
	vh := b.virtualHost(h)
	var origins []model.Origin
	for _, r := range h.Routes {
		origins = append(origins, r.Origin)
	}
	return message{name: h.Table + "/" + h.Name, body: vh, sources: distinct(sourcesOf(origins...))}
}

func (b *builder) virtualHost(h *model.VirtualHost) *route.VirtualHost {
	vh := &route.VirtualHost{Name: h.Table + "/" + h.Name, Domains: h.Domains, IncludeRequestAttemptCount: true}
	if h.RequireHTTPS {
		vh.RequireTls = route.VirtualHost_ALL
	}
	for _, r := range h.Routes {
		vh.Routes = append(vh.Routes, b.route(r, h.Name+"/*"))
	}
	return vh
}

func distinct(all []string) (out []string) {
	for _, s := range all {
		if len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

// table renders a route table whose virtual hosts are resources of their own.
// Source: envoy.config.route.v3.RouteConfiguration.
func (b *builder) table(t *model.RouteTable) message {
	return message{name: t.Name, body: &route.RouteConfiguration{
		Name: t.Name, Vhds: &route.Vhds{ConfigSource: ads()}, IgnorePortInHostMatching: true, MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(maxBody),
	}}
}
