package translate

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/patch"
)

// maxBody bounds a direct response's body, in bytes: Istio's limit.
const maxBody = 1 << 20

// host renders a virtual host as a resource of its own, "TABLE/NAME" (VHDS).
// Source: envoy.config.route.v3.VirtualHost.
func (b *builder) host(h *model.VirtualHost) message {
	out := message{facts: patch.Target{Table: h.Table}}
	if written := b.usualHost(h); written != nil {
		out.body, out.written = aHost, written
		return out
	}
	last := model.Origin("")
	for _, r := range h.Routes {
		if r.Origin != last && r.Origin != "" {
			out.sources, last = append(out.sources, sourcesOf(r.Origin)...), r.Origin
		}
	}
	out.body = b.virtualHost(h)
	return out
}

// aHost is what a written one is read as. Nobody writes to it.
var aHost = &route.VirtualHost{}

func (b *builder) virtualHost(h *model.VirtualHost) *route.VirtualHost {
	vh := &route.VirtualHost{
		Name: h.Table + "/" + h.Name, Domains: h.Domains, IncludeRequestAttemptCount: !b.Headers.NoAttemptCount,
		Routes: make([]*route.Route, len(h.Routes)),
	}
	if h.RequireHTTPS {
		vh.RequireTls = route.VirtualHost_ALL
	}
	operation := h.Name + anyPath
	for i, r := range h.Routes {
		vh.Routes[i] = b.route(r, operation)
	}
	return vh
}

// anyDomain stands for domains that are checked by hand.
var anyDomain = []string{"*"}

// valid is what Validate says. Of a virtual host's domains, which are most of
// what there is to check in a mesh, it holds the rule without a regular
// expression: ^[^\x00\n\r]*$.
// Source: envoy.config.route.v3.VirtualHost, domains.
func valid(m validated) error {
	vh, ok := m.(*route.VirtualHost)
	if !ok || len(vh.GetDomains()) == 0 || slices.ContainsFunc(vh.GetDomains(), func(d string) bool { return strings.ContainsAny(d, "\x00\n\r") }) {
		return m.Validate()
	}
	domains := vh.Domains
	defer func() { vh.Domains = domains }()
	vh.Domains = anyDomain
	return vh.Validate()
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
		Name: t.Name, Vhds: &route.Vhds{ConfigSource: ads()}, IgnorePortInHostMatching: !t.Ports, MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(maxBody),
		ResponseHeadersToRemove: []string{unreachedHeader},
	}}
}
