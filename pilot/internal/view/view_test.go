package view

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

var everyClass = []model.ProxyClass{
	meshtest.Outbound, meshtest.Inbound, meshtest.Router,
	{Role: model.RoleOutbound, Namespace: "other", Labels: "app=a0"},
	{Role: model.RoleInbound, Namespace: "default", Labels: "app=a1"},
}

// random makes one random edit of a small mesh.
func random(rnd *rand.Rand, m *meshtest.Mesh) {
	ns := []string{"default", "other", "weft-system"}
	name, in := fmt.Sprintf("a%d", rnd.IntN(5)), ns[rnd.IntN(3)]
	host := meshtest.Host(fmt.Sprintf("a%d", rnd.IntN(5)), ns[rnd.IntN(2)])
	if rnd.IntN(6) == 0 {
		host = []string{"*", "*.default.svc.cluster.local", "*.example", "a.example", "a0", "a1.default"}[rnd.IntN(6)]
	}
	rank := fmt.Sprint(rnd.IntN(9), "/", in, "/", name)
	switch rnd.IntN(9) {
	case 0:
		m.Remove(in, name)
	case 1, 2:
		s := meshtest.Service(name, in, []string{"", "10.0.0.1", "10.0.0." + fmt.Sprint(rnd.IntN(9)), "fd00::1"}[rnd.IntN(4)])
		for _, p := range []uint32{80, 9000}[:1+rnd.IntN(2)] {
			s.Ports = append(s.Ports, meshtest.Port(p, model.Protocol(rnd.IntN(7))))
		}
		s.ExportTo = model.Visibility{Restricted: rnd.IntN(4) == 0, Private: true}
		m.Service(s)
	case 3, 4:
		var pods []*model.Endpoint
		for i := range rnd.IntN(4) {
			p := meshtest.Pod(fmt.Sprintf("10.1.%d.%d", i, rnd.IntN(4)), 80, fmt.Sprintf("v%d", 1+rnd.IntN(2)))
			p.MTLS, p.Health = rnd.IntN(4) > 0, model.Health(rnd.IntN(3))
			pods = append(pods, p)
		}
		m.Endpoints(meshtest.Behind(name, in, []uint32{80, 9000}[rnd.IntN(2)], pods...))
	case 5:
		p := meshtest.Rule(name, in, host, []string{"v1", "v2"}[:rnd.IntN(3)]...)
		p.Rank = rank
		p.Traffic.Traffic.LB = []*model.LoadBalancer{nil, {Algorithm: model.LBHash, Hash: &model.ConsistentHash{Header: "x"}}, {Algorithm: model.LBPassthrough}}[rnd.IntN(3)]
		p.ExportTo = model.Visibility{Restricted: rnd.IntN(4) == 0, Private: true}
		m.Policy(p)
	case 6, 7:
		vs := meshtest.Routing(name, in, host, meshtest.To(host, "v1", 1, "v2", 2), meshtest.To(meshtest.Host("a1", "default"), "", 1))
		vs.Rank, vs.Hosts = rank, append(vs.Hosts, "b.example")
		vs.HTTP[0].Scope = model.Scope{Port: []uint32{0, 80}[rnd.IntN(2)], SourceNamespace: []string{"", "other"}[rnd.IntN(2)]}
		vs.Gateways = []string{"mesh", "default/web"}[rnd.IntN(2):]
		m.VirtualService(vs)
	default:
		mode := model.MTLSMode(rnd.IntN(3))
		m.PeerAuth(&model.PeerAuth{Namespace: in, Name: name, Rank: rank, Mode: &mode,
			Selector: []map[string]string{nil, {"app": name}}[rnd.IntN(2)], Ports: map[uint32]model.MTLSMode{80: model.MTLSMode(rnd.IntN(3))}})
	}
	if rnd.IntN(20) == 0 {
		m.Settings(func(s *model.Settings) { s.OutboundAllowAny = !s.OutboundAllowAny })
	}
}

// contents is a View without the sharing of its tables.
func contents(v *model.View) map[string]any {
	out := map[string]any{"settings": v.Settings, "inbound": v.Inbound}
	put(out, "cluster", v.Clusters)
	put(out, "assignment", v.Assignments)
	put(out, "listener", v.Listeners)
	put(out, "table", v.Tables)
	put(out, "host", v.Hosts)
	put(out, "name", v.Names)
	put(out, "secret", v.Secrets)
	return out
}

func put[V comparable](out map[string]any, kind string, t memo.Table[V]) {
	for k, v := range t.All() {
		out[kind+" "+k] = v
	}
}

func TestIncrementalEqualsFromNothing(t *testing.T) {
	for _, class := range everyClass {
		t.Run(string(class.Role)+" "+class.Namespace, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(7, 8))
			m, viewer := meshtest.Bookshop(), New(class)
			for step := range 400 {
				for range 1 + rnd.IntN(3) {
					random(rnd, m)
				}
				mesh := m.Model()
				got, want := contents(viewer.View(mesh)), contents(Of(mesh, class))
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("step %d: incremental and from nothing differ:\n%s", step, cmp.Diff(want, got))
				}
				checkReferences(t, viewer.View(mesh))
			}
		})
	}
}

// checkReferences: what Envoy would refuse or silently miss.
func checkReferences(t *testing.T, v *model.View) {
	t.Helper()
	domains := map[string]string{}
	for key, h := range v.Hosts.All() {
		if _, ok := v.Tables.Get(h.Table); !ok {
			t.Errorf("virtual host %q is of no table", key)
		}
		for _, d := range h.Domains {
			d = h.Table + " " + strings.ToLower(d)
			if other, twice := domains[d]; twice {
				t.Errorf("domain %q is in both %q and %q", d, other, key)
			}
			domains[d] = key
		}
		if len(h.Routes) == 0 && !h.RequireHTTPS {
			t.Errorf("virtual host %q has no route", key)
		}
	}
	for name, l := range v.Listeners.All() {
		for _, c := range l.Chains {
			if c.HTTP != nil {
				if _, ok := v.Tables.Get(c.HTTP.Table); !ok {
					t.Errorf("listener %q: no table %q", name, c.HTTP.Table)
				}
				continue
			}
			for _, w := range c.TCP.Clusters {
				if _, ok := v.Clusters.Get(w.Name); !ok {
					t.Errorf("listener %q: no cluster %q", name, w.Name)
				}
			}
		}
	}
	for name, c := range v.Clusters.All() {
		if _, ok := v.Assignments.Get(name); ok != c.EDS() {
			t.Errorf("cluster %q: EDS is %v, an assignment is there: %v", name, c.EDS(), ok)
		}
	}
}

func TestMeshIsNotWrittenTo(t *testing.T) {
	m := meshtest.Bookshop()
	before, after := m.Model(), meshtest.Bookshop().Model()
	for _, class := range everyClass {
		Of(before, class)
	}
	for _, class := range everyClass {
		if a, b := contents(Of(before, class)), contents(Of(after, class)); !reflect.DeepEqual(a, b) {
			t.Error(cmp.Diff(b, a))
		}
	}
}

// changed lists the entries by which two Views differ, by pointer.
func changed(a, b *model.View) []string {
	was, is := contents(a), contents(b)
	var out []string
	for k := range maps.Clone(is) {
		if was[k] != is[k] {
			out = append(out, k)
		}
		delete(was, k)
	}
	for k := range was {
		out = append(out, "-"+k)
	}
	return out
}

func TestOneEditChangesWhatItIsAbout(t *testing.T) {
	reviews := meshtest.Host("reviews", "default")
	for name, tc := range map[string]struct {
		edit func(*meshtest.Mesh)
		want []string
	}{
		"a weight": {
			func(m *meshtest.Mesh) {
				m.VirtualService(meshtest.Routing("reviews", "default", reviews, meshtest.To(reviews, "v1", 50, "v2", 50)))
			},
			[]string{"host 9080/" + reviews + ":9080"},
		},
		"an endpoint": {
			func(m *meshtest.Mesh) {
				e, _ := m.Model().Endpoints.Get(reviews)
				next := *e
				next.Ports = []model.PortEndpoints{{Port: 9080, Endpoints: append(e.Of(9080)[:2:2], meshtest.Pod("10.244.0.9", 9080, "v2"))}}
				m.Endpoints(&next)
			},
			[]string{"assignment outbound|9080|v2|" + reviews, "assignment outbound|9080||" + reviews},
		},
		"an endpoint of a headless service": {
			func(m *meshtest.Mesh) {
				m.Endpoints(meshtest.Behind("ratings", "default", 9090, meshtest.Pod("10.244.0.3", 9090, "v1")))
			},
			[]string{"assignment outbound|9090||ratings.default.svc.cluster.local", "name ratings.default.svc.cluster.local"},
		},
		"a rule in another namespace": {
			func(m *meshtest.Mesh) { m.Policy(meshtest.Rule("reviews", "elsewhere", reviews, "v3")) }, nil,
		},
		"a VirtualService for gateways": {
			func(m *meshtest.Mesh) {
				vs := meshtest.Routing("web", "default", reviews, meshtest.To(reviews, "v1", 1))
				vs.Gateways = []string{"default/web"}
				m.VirtualService(vs)
			}, nil,
		},
		"an equal VirtualService": {
			func(m *meshtest.Mesh) {
				m.VirtualService(meshtest.Routing("reviews", "default", reviews, meshtest.To(reviews, "v1", 90, "v2", 10)))
			}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, viewer := meshtest.Bookshop(), New(meshtest.Outbound)
			before := viewer.View(m.Model())
			tc.edit(m)
			after := viewer.View(m.Model())
			got := changed(before, after)
			if tc.want == nil && before != after {
				t.Errorf("another View; it differs in %v", got)
			}
			if diff := cmp.Diff(sorted(tc.want), sorted(got)); diff != "" {
				t.Errorf("changed entries (-want +got):\n%s", diff)
			}
		})
	}
}
