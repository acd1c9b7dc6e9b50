package view

import (
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// outbound is the client side of a sidecar.
type outbound struct {
	clusters    *memo.Derived[*model.Service, *model.Cluster]
	assignments *memo.Derived[*model.Cluster, *model.Assignment]
	tables      *memo.Derived[memo.Table[*model.Service], *model.RouteTable]
	ofServices  *memo.Derived[*model.Service, *model.VirtualHost]
	ofNames     *memo.Derived[*model.VirtualService, *model.VirtualHost]
	fallbacks   *memo.Derived[*model.RouteTable, *model.VirtualHost]
	hosts       *memo.Union[*model.VirtualHost]
	http        *memo.Derived[memo.Table[*model.Service], *model.Listener]
	bytes       *memo.Derived[*model.Service, *model.Listener]
	listeners   *memo.Union[*model.Listener]
	names       *memo.Derived[*model.Service, *model.Name]
	secrets     *memo.Derived[string, *model.Secret]
}

func newOutbound(in *inputs, class model.ProxyClass) *outbound {
	visible := visibleServices(in)
	effective := policies(in, &visible.Cell)
	maker := newClusterMaker(in, class, &visible.Cell, effective)
	hosts := newSidecarHosts(in, &visible.Cell, &binder{in: in, services: &visible.Cell, effective: effective})
	tables := sidecarTables(in, &visible.Cell)
	o := &outbound{
		tables:     tables,
		ofNames:    hosts.ofNames(&tables.Cell),
		clusters:   outboundClusters(maker),
		ofServices: hosts.ofServices(),
		http:       httpListeners(in, &visible.Cell),
		bytes:      sidecarListeners(in, &visible.Cell, effective),
		names:      names(in, &visible.Cell),
	}
	o.assignments = assignments(in, &o.clusters.Cell, maker)
	o.secrets = secretsNamed(in, clusterCredentials(in.graph, &o.clusters.Cell))
	o.fallbacks = fallbackHosts(in.graph, &o.tables.Cell)
	o.hosts = memo.NewUnion(in.graph, &o.ofServices.Cell, &o.ofNames.Cell, &o.fallbacks.Cell)
	o.listeners = memo.NewUnion(in.graph, &o.http.Cell, &o.bytes.Cell)
	return o
}

func visibleServices(in *inputs) *memo.Derived[*model.Service, *model.Service] {
	return memo.Map(in.graph, &in.services.Cell, func(r *memo.Reader, _ string, s *model.Service) (*model.Service, bool) {
		return s, in.sees(r, s.ExportTo, s.Namespace)
	})
}

func (o *outbound) fill(v *model.View) {
	v.Clusters = o.clusters.Table()
	v.Assignments = o.assignments.Table()
	v.Tables = o.tables.Table()
	v.Hosts = o.hosts.Table()
	v.Listeners = o.listeners.Table()
	v.Names = o.names.Table()
	v.Secrets = o.secrets.Table()
}
