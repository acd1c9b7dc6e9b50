package view

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// router is a gateway's proxy.
type router struct {
	routedTo    *memo.Derived[target, *model.Cluster]
	passedTo    *memo.Derived[*model.Service, *model.Cluster]
	clusters    *memo.Union[*model.Cluster]
	assignments *memo.Union[*model.Assignment]
	listeners   *memo.Derived[memo.Table[*served], *model.Listener]
	tables      *memo.Derived[memo.Table[*served], *model.RouteTable]
	routed      *memo.Derived[memo.Table[*binding], *model.VirtualHost]
	redirects   *memo.Derived[*served, *model.VirtualHost]
	fallbacks   *memo.Derived[*model.RouteTable, *model.VirtualHost]
	hosts       *memo.Union[*model.VirtualHost]
	ofServers   *memo.Derived[string, *model.Secret]
	ofClusters  *memo.Derived[string, *model.Secret]
	secrets     *memo.Union[*model.Secret]
}

// served is one server of a Gateway that selects the proxy.
type served struct {
	*model.Server
	gateway *model.Gateway
	index   int
	key     string // in the order of servers
	listen  uint32 // the port that the proxy's pod listens on
}

// target is a destination as one comparable value.
type target struct {
	host, subset string
	port         uint32
}

func newRouter(in *inputs, class model.ProxyClass, own *callees) *router {
	g := in.graph
	visible := visibleServices(in)
	effective := policies(in, &visible.Cell, in.heeds)
	maker := newClusterMaker(in, class, &visible.Cell, effective)
	servers := routerServers(in, class)
	byTable := memo.Group(g, &servers.Cell, func(_ string, s *served) []string { return nonEmpty(s.RouteTable) })
	byPort := memo.Group(g, &servers.Cell, func(_ string, s *served) []string { return []string{s.listener()} })
	hosts := &routerHosts{in: in, class: class, servers: servers, byName: serverNamesOf(g, &servers.Cell), binder: &binder{in: in, services: &visible.Cell, effective: effective}}
	r := &router{
		passedTo: maker.passedClusters(autoServers(g, &servers.Cell)),
		tables: memo.Map(g, &byTable.Cell, func(_ *memo.Reader, name string, all memo.Table[*served]) (*model.RouteTable, bool) {
			return routerTable(name, all), true
		}, memo.Same(sameTable)),
	}
	r.routed, r.redirects = hosts.derive()
	asked := askedTables(g, &r.routed.Cell, hosts.binder)
	r.listeners = routerListeners(&routerDoors{hosts: hosts, passed: &r.passedTo.Cell, routed: hosts.passing(), asked: &asked.Cell}, byPort)
	r.fallbacks = fallbackHosts(g, &r.tables.Cell)
	wanted := memo.NewUnion(g, &targets(g, &r.routed.Cell).Cell, &bytesTargets(g, &r.listeners.Cell).Cell)
	r.routedTo = memo.Map(g, &wanted.Cell, func(rd *memo.Reader, _ string, t target) (*model.Cluster, bool) {
		return maker.ofTarget(rd, t)
	}, memo.Same(sameCluster))
	called := memo.NewUnion(g, &r.routedTo.Cell, &r.passedTo.Cell)
	r.clusters = memo.NewUnion(g, &called.Cell, &own.clusters.Cell)
	r.assignments = memo.NewUnion(g, &assignments(in, &called.Cell, maker).Cell, &own.assignments.Cell)
	if class.SelfDiscovery {
		r.assignments = memo.NewUnion(g, &r.assignments.Cell, &fellows(in).Cell)
	}
	r.ofServers = secretsNamed(in, serverCredentials(g, class.Namespace, &servers.Cell))
	r.ofClusters = secretsNamed(in, clusterCredentials(g, &r.clusters.Cell))
	strict, lenient, unrouted := hosts.ofOthers(true), hosts.ofOthers(false), hosts.unrouted()
	r.hosts = memo.NewUnion(g, &strict.Cell, &r.routed.Cell, &r.redirects.Cell, &lenient.Cell, &unrouted.Cell, &r.fallbacks.Cell)
	r.secrets = memo.NewUnion(g, &r.ofServers.Cell, &r.ofClusters.Cell)
	return r
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func bindOf(s *served) string {
	if s.Bind == "" {
		return anyAddress
	}
	return s.Bind
}

// routerServers derives the servers of the Gateways that select the proxy, by
// rank and position. An empty selector selects every gateway proxy (Istio). The
// port of a server is that of the Service in front of the gateway, if one has
// it: the pods listen on its target port. Of several Services the first by host
// decides.
func routerServers(in *inputs, class model.ProxyClass) *memo.Derived[*model.Gateway, *served] {
	labels := model.ParseLabels(class.Labels)
	front := memo.Group(in.graph, &ownServices(in).Cell, func(_ string, s *model.Service) []string { return portNumbers(s) })
	return memo.Flat(in.graph, &in.gateways.Cell, func(r *memo.Reader, _ string, gw *model.Gateway, emit memo.Emit[*served]) {
		if !model.Selects(gw.Selector, labels) {
			return
		}
		for i := range gw.Servers {
			services, _ := memo.Get(r, &front.Cell, portKey(gw.Servers[i].Port))
			key := fmt.Sprintf("%s\x00%s\x00%04d", gw.Rank, gw.Key(), i)
			emit(key, &served{Server: &gw.Servers[i], gateway: gw, index: i, key: key, listen: listenPort(class, services, gw.Servers[i].Port)})
		}
	}, memo.Same(sameServed))
}

func portKey(number uint32) string { return strconv.FormatUint(uint64(number), 10) }

func portNumbers(s *model.Service) (out []string) {
	for _, p := range s.Ports {
		out = append(out, portKey(p.Number))
	}
	return out
}

// listenPort is the pod's port behind a port of the Services in front of it;
// the port itself where there is none, or its target is not there.
func listenPort(class model.ProxyClass, front memo.Table[*model.Service], number uint32) uint32 {
	for _, s := range front.All() {
		if p, ok := s.Port(number); ok {
			if target := targetOf(class.Ports, p); target != 0 {
				return target
			}
		}
	}
	return number
}

// targets derives the clusters that virtual hosts refer to.
func targets(g *memo.Graph, hosts *memo.Cell[*model.VirtualHost]) *memo.Derived[*model.VirtualHost, target] {
	return memo.Flat(g, hosts, func(_ *memo.Reader, _ string, vh *model.VirtualHost, emit memo.Emit[target]) {
		for _, route := range vh.Routes {
			forward, ok := route.Action.(*model.Forward)
			if !ok {
				continue
			}
			for _, d := range forward.Destinations {
				emit(d.Cluster, target{host: d.Host, subset: d.Subset, port: d.Port})
			}
			for _, m := range forward.Mirrors {
				emit(m.Cluster, target{host: m.Host, subset: m.Subset, port: m.Port})
			}
		}
	})
}

func (m *clusterMaker) ofTarget(r *memo.Reader, t target) (*model.Cluster, bool) {
	s, ok := memo.Get(r, m.services, t.host)
	if !ok {
		return nil, false
	}
	port, ok := s.Port(t.port)
	if !ok || port.Protocol == model.ProtocolUDP {
		return nil, false
	}
	c := m.of(r, s, port, t.subset)
	return c, c != nil
}

func secure(s *served) bool { return s.TLS != nil && s.Protocol == model.ProtocolTLS }

// serverNames are the SNI names of a server; nil for any.
func serverNames(s *served) (names []string) {
	for _, h := range s.Hosts {
		if h.Host == "*" {
			return nil
		}
		if !slices.Contains(names, h.Host) {
			names = append(names, h.Host)
		}
	}
	slices.Sort(names)
	return names
}

func (r *router) fill(v *model.View) {
	v.Clusters = r.clusters.Table()
	v.Assignments = r.assignments.Table()
	v.Listeners = r.listeners.Table()
	v.Tables = r.tables.Table()
	v.Hosts = r.hosts.Table()
	v.Secrets = r.secrets.Table()
}
