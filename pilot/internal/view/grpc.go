package view

import (
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// grpcClient is the client side of a process whose gRPC library speaks xDS. It
// has the virtual hosts, clusters and endpoints of a sidecar of its namespace;
// it has no listeners, for it asks for a host by name, and no DNS.
type grpcClient struct {
	clusters    *memo.Derived[*model.Service, *model.Cluster]
	assignments *memo.Derived[*model.Cluster, *model.Assignment]
	hosts       *memo.Derived[*model.VirtualHost, *model.VirtualHost]
}

func newGRPCClient(in *inputs, class model.ProxyClass) *grpcClient {
	visible, routing := sight(in, class)
	known := memo.NewUnion(in.graph, ledTo(in, routing), visible)
	effective := policies(in, &known.Cell, in.heeds)
	maker := newClusterMaker(in, class, &known.Cell, effective)
	hosts := newSidecarHosts(in, visible, routing, &binder{in: in, services: &known.Cell, effective: effective})
	tables := sidecarTables(in, visible)
	g := &grpcClient{clusters: outboundClusters(maker)}
	g.assignments = assignments(in, &g.clusters.Cell, maker)
	all := memo.NewUnion(in.graph, &hosts.ofServices().Cell, &hosts.ofNames(&tables.Cell).Cell)
	g.hosts = memo.Map(in.graph, &all.Cell, func(r *memo.Reader, _ string, h *model.VirtualHost) (*model.VirtualHost, bool) {
		return withoutMissing(h, func(cluster string) bool { _, ok := memo.Get(r, &g.clusters.Cell, cluster); return ok }), true
	}, memo.Same(sameHost))
	return g
}

// withoutMissing is h, where destinations whose cluster does not exist name none:
// a gRPC client that asks for one waits a quarter of a minute with all that the
// channel does.
func withoutMissing(h *model.VirtualHost, exists func(cluster string) bool) *model.VirtualHost {
	missing := func(d model.Destination) bool { return !exists(d.Cluster) }
	out := *h
	for i, r := range h.Routes {
		f, ok := r.Action.(*model.Forward)
		if !ok || !slices.ContainsFunc(f.Destinations, missing) {
			continue
		}
		route, forward := *r, *f
		forward.Destinations = slices.Clone(f.Destinations)
		for j, d := range forward.Destinations {
			if missing(d) {
				forward.Destinations[j].Cluster = ""
			}
		}
		route.Action = &forward
		if &out.Routes[0] == &h.Routes[0] {
			out.Routes = slices.Clone(h.Routes)
		}
		out.Routes[i] = &route
	}
	return &out
}

func (g *grpcClient) fill(v *model.View) {
	v.Clusters = g.clusters.Table()
	v.Assignments = g.assignments.Table()
	v.Hosts = g.hosts.Table()
}

// forGRPC makes c what a gRPC client can have: it dials nothing itself, so that
// PASSTHROUGH and headless services are balanced over their endpoints.
func forGRPC(c *model.Cluster, secured bool) {
	c.Secured = secured
	if lb := c.Traffic.LB; lb != nil && lb.Algorithm == model.LBPassthrough {
		c.Traffic.LB = nil
	}
}

// ofOneWay keeps the endpoints that take mesh mTLS where some do: a gRPC client
// has one way for all of a cluster, and in clear text it must not go to one that
// could have been asked securely.
func ofOneWay(all []*model.Endpoint, c *model.Cluster, auto bool) []*model.Endpoint {
	if !c.Secured || !auto || c.Traffic.TLS != nil {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(ep *model.Endpoint) bool { return !ep.MTLS })
}
