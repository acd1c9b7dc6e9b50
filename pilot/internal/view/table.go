package view

import (
	"cmp"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// fallbackName is the virtual host that takes what no other does. It is a
// resource like the others, so that a user's "*" replaces it at once.
const fallbackName = "*"

// fallbackHost makes the virtual host behind all others of a table.
func fallbackHost(t *model.RouteTable) *model.VirtualHost {
	route := &model.Route{Name: "fallback"}
	switch t.Fallback {
	case model.FallbackPassthrough:
		route.Name = "allow_any"
		if t.Proxy == model.AskedCluster {
			route.Name = "allow_any_dynamic_dns"
		}
		route.Action = &model.Forward{Destinations: []model.Destination{{Cluster: cmp.Or(t.Proxy, passthroughCluster), Weight: 1}}}
	case model.FallbackBlackHole:
		route.Name = "block_all"
		route.Action = &model.DirectResponse{Status: 502}
	case model.FallbackMisdirected:
		return misdirected(t.Name, "*", 0)
	default:
		route.Action = &model.DirectResponse{Status: 404}
	}
	return &model.VirtualHost{Table: t.Name, Name: fallbackName, Domains: []string{"*"}, Routes: []*model.Route{route}}
}

// fallbackHosts derives the fallback of every table.
func fallbackHosts(g *memo.Graph, tables *memo.Cell[*model.RouteTable]) *memo.Derived[*model.RouteTable, *model.VirtualHost] {
	return memo.Flat(g, tables, func(_ *memo.Reader, name string, t *model.RouteTable, emit memo.Emit[*model.VirtualHost]) {
		emit(name+"/"+fallbackName, fallbackHost(t))
	}, memo.Same(sameHost))
}

// sidecarTables derives the route tables of a sidecar: one for each port that
// some visible service serves HTTP on.
func sidecarTables(in *inputs, services *memo.Cell[*model.Service]) *memo.Derived[memo.Table[*model.Service], *model.RouteTable] {
	byPort := memo.Group(in.graph, services, func(_ string, s *model.Service) (ports []string) {
		for _, p := range s.Ports {
			if routed(p) {
				ports = append(ports, tableName(p.Number))
			}
		}
		return ports
	})
	return memo.Map(in.graph, &byPort.Cell, func(r *memo.Reader, port string, _ memo.Table[*model.Service]) (*model.RouteTable, bool) {
		t := &model.RouteTable{Name: port}
		t.Proxy, t.Fallback = in.unknownHost(r)
		return t, true
	}, memo.Same(sameTable))
}
