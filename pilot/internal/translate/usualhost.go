package translate

import (
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
)

// Most virtual hosts of a mesh are those of services of which no VirtualService
// says anything: they differ in their names alone. So these are written by hand
// around what their routes have in common, which is made and checked once.

// usualRoute is all that such a route goes by, beside the settings and its names.
type usualRoute struct {
	name  string
	tried bool // by the mesh's retries, else not at all
}

// usualRoute reports whether a route only sends all requests to a cluster.
// TestUsualRoutes holds it to every field that there is.
func (b *builder) usualRoute(r *model.Route) (kind usualRoute, cluster string, ok bool) {
	f, ok := r.Action.(*model.Forward)
	if !ok || len(f.Destinations) != 1 || r.Origin != "" || r.Match.Path != nil || !r.Match.OnlyPath() || r.StatPrefix != "" || r.Fault != nil || r.CORS != nil {
		return kind, "", false
	}
	d := &f.Destinations[0]
	switch {
	case !r.Request.None() || !r.Response.None() || !d.Request.None() || !d.Response.None(),
		d.Hash != nil || d.Session != nil || d.Reports,
		f.Rewrite != nil || f.Timeout != 0 || len(f.Mirrors) > 0 || f.Retry != nil && f.Retry != b.DefaultRetry:
		return kind, "", false
	}
	return usualRoute{name: r.Name, tried: f.Retry != nil}, d.Cluster, true
}

// Fields of Envoy's messages, all below 16.
const (
	hostName, hostDomains, hostRoutes, hostAttempts        = 1, 2, 3, 14
	routeAction, routeDecorator, actionCluster, decoration = 2, 5, 1, 1
)

// usualHost writes the virtual host of one usual route, or gives nil for
// another. To Go's library it has nothing but fields that it does not know.
// Source: envoy.config.route.v3.VirtualHost.
func (b *builder) usualHost(name string, h *model.VirtualHost) *route.VirtualHost {
	if len(h.Routes) != 1 || h.RequireHTTPS || len(h.Domains) == 0 || !plainText(name) {
		return nil
	}
	kind, cluster, ok := b.usualRoute(h.Routes[0])
	if !ok || !plainText(cluster) {
		return nil
	}
	length := size(len(name)) + 2 // hostAttempts
	for _, d := range h.Domains {
		if !plainText(d) {
			return nil
		}
		length += size(len(d))
	}
	operation := len(h.Name) + len(anyPath)
	own := size(size(operation)) + size(size(len(cluster)))
	common, ok := b.trunks[kind]
	if !ok {
		common = b.commonRoute(h, kind, cluster)
	}
	out := make([]byte, 0, length+size(own+len(common)))
	out = text(out, hostName, name)
	for _, d := range h.Domains {
		out = text(out, hostDomains, d)
	}
	if !b.Headers.NoAttemptCount {
		out = protowire.AppendVarint(protowire.AppendTag(out, hostAttempts, protowire.VarintType), 1)
	}
	out = usualOwn(begun(out, hostRoutes, own+len(common)), h.Name, cluster)
	vh := &route.VirtualHost{}
	vh.ProtoReflect().SetUnknown(append(out, common...))
	return vh
}

// usualOwn adds what a usual route does not have in common with others.
func usualOwn(to []byte, host, cluster string) []byte {
	to = begun(to, routeDecorator, size(len(host)+len(anyPath)))
	to = append(append(begun(to, decoration, len(host)+len(anyPath)), host...), anyPath...)
	return text(begun(to, routeAction, size(len(cluster))), actionCluster, cluster)
}

// commonRoute is the route of h without what usualOwn adds.
func (b *builder) commonRoute(h *model.VirtualHost, kind usualRoute, cluster string) []byte {
	return trunk(b, usualOwn(nil, h.Name, cluster), kind, func(common *route.Route) {
		whole := b.route(h.Routes[0], h.Name+anyPath)
		whole.Decorator, whole.GetRoute().ClusterSpecifier = nil, nil
		proto.Merge(common, whole)
	})
}

// anyPath ends the name that traces have for a route.
const anyPath = "/*"

// plainText reports whether Envoy takes s as a name of any kind. It may take
// others: Validate says.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}

// text adds a field of text, begun one of length bytes that follow.
func text(to []byte, field protowire.Number, value string) []byte {
	return append(begun(to, field, len(value)), value...)
}

func begun(to []byte, field protowire.Number, length int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, field, protowire.BytesType), uint64(length))
}
