package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// asks gives the hosts, such as "*.example.com", of the service that d leads
// to, if the proxy asks DNS for the host that the client names.
func (b *binder) asks(r *memo.Reader, d model.Destination) (host string, ok bool) {
	s, ok := memo.Get(r, b.services, d.Host)
	if !ok || s.Resolve != model.ResolveAsked {
		return "", false
	}
	return s.Host, true
}

// bounded keeps a gateway's clients from naming a host that a destination does
// not have: else who routes "*" to "*.example.com" would let strangers make the
// gateway call whatever it can reach. Such destinations answer 503. The
// destinations of routes must be the caller's own.
func (b *binder) bounded(r *memo.Reader, routes []*model.Route, host string) {
	for _, route := range routes {
		f, ok := route.Action.(*model.Forward)
		if !ok {
			continue
		}
		for i := range f.Destinations {
			b.bound(r, &f.Destinations[i], []string{host})
		}
		for i := range f.Mirrors {
			b.bound(r, &f.Mirrors[i].Destination, []string{host})
		}
	}
}

func (b *binder) bound(r *memo.Reader, d *model.Destination, named []string) {
	if !b.within(r, *d, named) {
		d.Host, d.Cluster = "", blackHoleCluster
	}
}

// within reports whether clients can name no other hosts than a destination
// has; no names are any.
func (b *binder) within(r *memo.Reader, d model.Destination, named []string) bool {
	host, asked := b.asks(r, d)
	beyond := func(name string) bool { return !covers(host, name) }
	return !asked || len(named) > 0 && !slices.ContainsFunc(named, beyond)
}

// boundBytes is bounded for a rule's connections, by their server names.
func (b *binder) boundBytes(r *memo.Reader, rule *bytesRule) {
	for _, c := range rule.chain.TCP.Clusters {
		if !b.within(r, c.To, rule.names) {
			rule.chain.TCP = &model.TCPChain{Clusters: []model.WeightedCluster{{Name: blackHoleCluster, Weight: 1}}}
			return
		}
	}
}

// askedTables derives the route tables of which some route leads where clients
// name the host.
func askedTables(g *memo.Graph, hosts *memo.Cell[*model.VirtualHost], b *binder) *memo.Derived[*model.VirtualHost, bool] {
	return memo.Flat(g, hosts, func(r *memo.Reader, _ string, vh *model.VirtualHost, emit memo.Emit[bool]) {
		for _, route := range vh.Routes {
			f, ok := route.Action.(*model.Forward)
			if ok && slices.ContainsFunc(f.Destinations, func(d model.Destination) bool { _, asked := b.asks(r, d); return asked }) {
				emit(vh.Table, true)
				return
			}
		}
	})
}
