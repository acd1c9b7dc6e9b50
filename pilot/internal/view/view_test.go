package view

import (
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
					meshtest.Random(rnd, m)
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
				if _, ok := v.Clusters.Get(w.Name); !ok && w.Name != "PassthroughCluster" && w.Name != "BlackHoleCluster" {
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
