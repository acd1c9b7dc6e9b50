package view

import (
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// outbound is the client side of a sidecar.
type outbound struct {
	clusters    *memo.Union[*model.Cluster]
	assignments *memo.Union[*model.Assignment]
	tables      *memo.Union[*model.RouteTable]
	ofServices  *memo.Derived[*model.Service, *model.VirtualHost]
	ofNames     *memo.Derived[*model.VirtualService, *model.VirtualHost]
	fallbacks   *memo.Derived[*model.RouteTable, *model.VirtualHost]
	hosts       *memo.Union[*model.VirtualHost]
	captured    *memo.Derived[memo.Table[*piece], *model.Listener]
	own         *memo.Derived[memo.Table[*model.Service], *model.Listener] // of its Sidecar
	listeners   *memo.Union[*model.Listener]
	names       *memo.Derived[*model.Service, *model.Name]
	secrets     *memo.Derived[string, *model.Secret]
	unknown     *memo.Derived[*model.Settings, string]
}

func newOutbound(in *inputs, class model.ProxyClass, own *callees) *outbound {
	visible, routing := sight(in, class)
	known := memo.NewUnion(in.graph, ledTo(in, routing), visible)
	effective := policies(in, &known.Cell, in.heeds)
	maker := newClusterMaker(in, class, &known.Cell, effective)
	hosts := newSidecarHosts(in, visible, routing, &binder{in: in, services: &known.Cell, effective: effective})
	hosts.proxied = true
	tables := memo.NewUnion(in.graph, &sidecarTables(in, visible).Cell, proxyRoutes(in))
	o := &outbound{
		tables:     tables,
		ofNames:    hosts.ofNames(&tables.Cell),
		ofServices: hosts.ofServices(),
		captured:   sidecarListeners(in, visible, hosts),
		own:        egressListeners(in, visible, hosts),
		names:      names(in, visible),
		unknown:    unknownOf(in),
	}
	called := outboundClusters(maker)
	o.clusters = memo.NewUnion(in.graph, &called.Cell, &own.clusters.Cell)
	o.assignments = memo.NewUnion(in.graph, &assignments(in, &called.Cell, maker).Cell, &own.assignments.Cell)
	o.secrets = secretsNamed(in, clusterCredentials(in.graph, &o.clusters.Cell))
	o.fallbacks = fallbackHosts(in.graph, &o.tables.Cell)
	o.hosts = memo.NewUnion(in.graph, &o.ofServices.Cell, &o.ofNames.Cell, &o.fallbacks.Cell)
	o.listeners = memo.NewUnion(in.graph, &o.captured.Cell, &o.own.Cell, proxyListener(in, visible))
	return o
}

// sight derives the services and VirtualServices that the proxy sees: of all
// there are, or of those that its Sidecar names.
func sight(in *inputs, class model.ProxyClass) (*memo.Cell[*model.Service], *memo.Cell[*model.VirtualService]) {
	if class.Reach == model.ReachNarrow {
		of := parts(in)
		return narrowServices(in, of), narrowRouting(in, of)
	}
	routing := memo.Map(in.graph, &in.virtualServices.Cell, func(r *memo.Reader, _ string, vs *model.VirtualService) (*model.VirtualService, bool) {
		return vs, in.routes(r, vs)
	})
	return &visibleServices(in).Cell, &routing.Cell
}

// visibleServices derives the services that the proxy sees, by host.
func visibleServices(in *inputs) *memo.Derived[*model.Service, *model.Service] {
	seen := memo.Map(in.graph, &in.services.Cell, func(r *memo.Reader, _ string, s *model.Service) (*model.Service, bool) {
		return in.seen(r, s)
	}, memo.Same(sameService))
	return settleRivals(in, &seen.Cell)
}

func (o *outbound) fill(v *model.View) {
	v.Clusters = o.clusters.Table()
	v.Assignments = o.assignments.Table()
	v.Tables = o.tables.Table()
	v.Hosts = o.hosts.Table()
	v.Listeners = o.listeners.Table()
	v.Names = o.names.Table()
	v.Secrets = o.secrets.Table()
	v.Unknown, _ = o.unknown.Table().Get("")
}
