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
	hosts       union[*model.VirtualHost]
	http        *memo.Derived[memo.Table[*model.Service], *model.Listener]
	bytes       *memo.Derived[*model.Service, *model.Listener]
	listeners   union[*model.Listener]
	names       *memo.Derived[*model.Service, *model.Name]
	secrets     *memo.Derived[string, *model.Secret]
}

func newOutbound(in *inputs, class model.ProxyClass) *outbound {
	visible := visibleServices(in, class)
	effective := policies(in, class, &visible.Cell)
	maker := newClusterMaker(in, class, &visible.Cell, effective)
	hosts := newSidecarHosts(in, class, &visible.Cell, &binder{services: &visible.Cell, effective: effective})
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
	return o
}

func visibleServices(in *inputs, class model.ProxyClass) *memo.Derived[*model.Service, *model.Service] {
	return memo.Map(in.graph, &in.services.Cell, func(_ *memo.Reader, _ string, s *model.Service) (*model.Service, bool) {
		return s, s.ExportTo.Sees(s.Namespace, class.Namespace)
	})
}

func (o *outbound) fill(v *model.View) {
	v.Clusters = o.clusters.Table()
	v.Assignments = o.assignments.Table()
	v.Tables = o.tables.Table()
	v.Hosts = o.hosts.of(o.ofServices.Table(), o.ofNames.Table(), o.fallbacks.Table())
	v.Listeners = o.listeners.of(o.http.Table(), o.bytes.Table())
	v.Names = o.names.Table()
	v.Secrets = o.secrets.Table()
}
