package translate

import (
	"fmt"
	"testing"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// work is one of the inputs on which Istio's own benchmarks were measured, with
// half of what they took: the bound of ours. Its scope is computed before, as
// Istio's is.
type work struct {
	name  string
	mesh  *model.Mesh
	class model.ProxyClass
	types []string // of resources
	// allocations at most; 0: Istio's are not known.
	allocations float64
}

func works() []work {
	services := meshtest.New()
	for i := range 100 {
		name := fmt.Sprintf("s%05d", i)
		services.Service(meshtest.Service(name, "default", fmt.Sprintf("10.100.0.%d", i), meshtest.Port(80, model.ProtocolHTTP)))
	}
	routes := []string{snapshot.Route, snapshot.VirtualHost}
	return []work{
		{"clusters/100-services", services.Model(), meshtest.Outbound, []string{snapshot.Cluster}, 0},
		{"routes/100-services", services.Model(), meshtest.Outbound, routes, 0},
		{"routes/gateway-1000-hosts", gatewayHosts(1000), meshtest.Router, routes, 129_000 / 2},
		{"routes/gateway-1000-paths", gatewayPaths(1000), meshtest.Router, routes, 0},
	}
}

// front is a gateway for all hosts on port 80, before one service.
func front() *meshtest.Mesh {
	m := meshtest.New()
	m.Service(meshtest.Service("reviews", "default", "10.0.0.1", meshtest.Port(80, model.ProtocolHTTP)))
	return m.Gateway(&model.Gateway{Namespace: "default", Name: "web", Rank: "web", Selector: map[string]string{"istio": "ingressgateway"}, Servers: []model.Server{{
		Name: "http", Port: 80, Protocol: model.ProtocolHTTP, Hosts: []model.ServerHost{{Namespace: "*", Host: "*"}}, RouteTable: "http.80",
	}}})
}

// gatewayHosts has n VirtualServices of one host and one route each.
func gatewayHosts(n int) *model.Mesh {
	m := front()
	for i := range n {
		vs := meshtest.Routing(fmt.Sprintf("v%05d", i), "default", fmt.Sprintf("h%05d.example.com", i), meshtest.To(meshtest.Host("reviews", "default"), "", 1))
		vs.Gateways = []string{"default/web"}
		m.VirtualService(vs)
	}
	return m.Model()
}

// gatewayPaths has one VirtualService with n prefixes.
func gatewayPaths(n int) *model.Mesh {
	vs := meshtest.Routing("v", "default", "a.example.com")
	vs.Gateways = []string{"default/web"}
	for i := range n {
		r := meshtest.To(meshtest.Host("reviews", "default"), "", 1)
		r.Match.Path = &model.StringMatch{Kind: model.MatchPrefix, Value: fmt.Sprintf("/path/%05d", i)}
		vs.HTTP = append(vs.HTTP, r)
	}
	return front().VirtualService(vs).Model()
}

// translate makes the resources of some types of a view, from nothing.
func (w *work) translate(v *model.View) (n int) {
	t := newTranslator(&memo.Graph{}, "")
	for _, typeURL := range w.types {
		switch typeURL {
		case snapshot.Cluster:
			t.outs = append(t.outs, newOutput(typeURL, each(t, t.in.clusters, (*builder).cluster)))
		case snapshot.Route:
			t.outs = append(t.outs, newOutput(typeURL, each(t, t.in.tables, (*builder).table)))
		case snapshot.VirtualHost:
			t.outs = append(t.outs, newOutput(typeURL, each(t, t.in.hosts, (*builder).host)))
		}
	}
	s := t.Snapshot(v)
	for _, typeURL := range w.types {
		n += s.Of(typeURL).Len()
	}
	return n
}

// BenchmarkAgainstIstio takes the inputs of Istio's own benchmarks, with the
// scope of the proxy computed before.
func BenchmarkAgainstIstio(b *testing.B) {
	for _, w := range works() {
		v := view.Of(w.mesh, w.class)
		b.Run(w.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.translate(v)
			}
		})
		b.Run(w.name+"/with-scope", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.translate(view.Of(w.mesh, w.class))
			}
		})
	}
}

// TestAllocations bounds what no load of the machine disturbs: at most half of
// Istio's allocations, with the scope of the proxy on top.
func TestAllocations(t *testing.T) {
	for _, w := range works() {
		v := view.Of(w.mesh, w.class)
		if n := w.translate(v); n < 100 && w.name != "routes/gateway-1000-paths" {
			t.Fatalf("%s: %d resources", w.name, n)
		}
		got := testing.AllocsPerRun(3, func() { w.translate(v) })
		t.Logf("%s: %.0f allocations", w.name, got)
		if w.allocations > 0 && got > w.allocations {
			t.Errorf("%s: %.0f allocations, at most %.0f", w.name, got, w.allocations)
		}
	}
}
