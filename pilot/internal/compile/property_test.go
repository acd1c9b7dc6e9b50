package compile

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// differences lists where two results mean different things.
func differences(a, b Result) (out []string) {
	if !reflect.DeepEqual(a.Mesh.Settings, b.Mesh.Settings) {
		out = append(out, "settings")
	}
	out = append(out, compare("service", a.Mesh.Services, b.Mesh.Services)...)
	out = append(out, compare("endpoints", a.Mesh.Endpoints, b.Mesh.Endpoints)...)
	out = append(out, compare("policy", a.Mesh.Policies, b.Mesh.Policies)...)
	out = append(out, compare("virtual service", a.Mesh.VirtualServices, b.Mesh.VirtualServices)...)
	out = append(out, compare("gateway", a.Mesh.Gateways, b.Mesh.Gateways)...)
	out = append(out, compare("peer authentication", a.Mesh.PeerAuth, b.Mesh.PeerAuth)...)
	out = append(out, compare("workload", a.Mesh.Workloads, b.Mesh.Workloads)...)
	out = append(out, compare("secret", a.Mesh.Secrets, b.Mesh.Secrets)...)
	return append(out, compare("findings", a.Findings, b.Findings)...)
}

func compare[V comparable](what string, a, b memo.Table[V]) (out []string) {
	for ch := range memo.Diff(a, b) {
		if !reflect.DeepEqual(ch.Old, ch.New) {
			out = append(out, fmt.Sprintf("%s %s: %+v / %+v", what, ch.Key, ch.Old, ch.New))
		}
	}
	return out
}

func TestIncrementalEqualsFromNothing(t *testing.T) {
	const n = 30
	rnd := rand.New(rand.NewPCG(1, 2))
	set := newWorld(n)
	c := New()
	for step := range 400 {
		for range 1 + rnd.IntN(3) {
			set = edit(rnd, set, n)
		}
		if d := differences(c.Mesh(set), Mesh(set)); len(d) > 0 {
			t.Fatalf("step %d: %s", step, d[0])
		}
	}
}

func TestOrderOfInputDoesNotMatter(t *testing.T) {
	set := newWorld(20).With(newVirtualService(3, 200)).With(newGateway(1, 80, "HTTP")).With(newGateway(2, 80, "HTTPS"))
	want := Mesh(set)
	var all []*config.Object
	for _, k := range []config.Kind{config.Node, config.Service, config.EndpointSlice, config.Pod, config.VirtualService, config.DestinationRule, config.Gateway} {
		for _, o := range set.Of(k).All() {
			all = append(all, o)
		}
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 5 {
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		c, shuffled := New(), config.Set{}
		for i, o := range all {
			if shuffled = shuffled.With(o); i%17 == 0 {
				c.Mesh(shuffled)
			}
		}
		if d := differences(c.Mesh(shuffled), want); len(d) > 0 {
			t.Fatal(d[0])
		}
	}
}

// changed lists the entries of all tables of which the pointers differ.
func changed(a, b *model.Mesh) (out []string) {
	note := func(table string, keys []string) {
		for _, k := range keys {
			out = append(out, table+" "+k)
		}
	}
	note("Services", keys(a.Services, b.Services))
	note("Endpoints", keys(a.Endpoints, b.Endpoints))
	note("Policies", keys(a.Policies, b.Policies))
	note("VirtualServices", keys(a.VirtualServices, b.VirtualServices))
	note("Gateways", keys(a.Gateways, b.Gateways))
	note("PeerAuth", keys(a.PeerAuth, b.PeerAuth))
	note("Workloads", keys(a.Workloads, b.Workloads))
	note("Secrets", keys(a.Secrets, b.Secrets))
	if a.Settings != b.Settings {
		out = append(out, "Settings")
	}
	return out
}

func keys[V comparable](a, b memo.Table[V]) (out []string) {
	for ch := range memo.Diff(a, b) {
		out = append(out, ch.Key)
	}
	return out
}

func TestAnEditChangesOnlyWhatItMeans(t *testing.T) {
	base := newWorld(50).With(newGateway(1, 80, "HTTP")).With(newPolicy(2, 1)).With(newMeshConfig("td"))
	relabelled := newService(10)
	relabelled.Annotations = map[string]string{"unrelated": "annotation"}
	cases := []struct {
		name string
		edit *config.Object
		want []string
	}{
		{"weight", newVirtualService(10, 50), []string{"VirtualServices ns1/svc10"}},
		{"endpoint", newSlice(10, 3, true), []string{"Endpoints svc10.ns1.svc.cluster.local"}},
		{"readiness of one pod", newSlice(10, 4, false), []string{"Endpoints svc10.ns1.svc.cluster.local"}},
		{"pod's version", newPod(10, 0, "v9"), []string{"Endpoints svc10.ns1.svc.cluster.local", "Workloads ns1/svc10-0"}},
		{"port", newService(10, 80, 81), []string{"Services svc10.ns1.svc.cluster.local"}},
		{"nothing that counts", relabelled, nil},
		{"the same again", newVirtualService(10, 10), nil},
		{"subset", newRule(10, "v1", "v2", "v3"), []string{"Policies ns1/svc10"}},
		{"mTLS mode", newPolicy(2, 3), []string{"PeerAuth ns0/svc2"}},
		{"gateway", newGateway(1, 81, "HTTP"), []string{"Gateways ns0/svc1"}},
		{"access log", newMeshConfig("td"), nil},
		{"new service", newService(50), []string{"Services svc50.ns5.svc.cluster.local"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := New()
			before := c.Mesh(base)
			after := c.Mesh(base.With(tc.edit))
			if got := changed(before.Mesh, after.Mesh); !slices.Equal(got, tc.want) {
				t.Errorf("changed %v, want %v", got, tc.want)
			}
			if tc.want == nil && before.Mesh != after.Mesh {
				t.Error("the mesh is the same, but has another pointer")
			}
		})
	}
}

func TestRemovedSubsetIsReportedOnItsUsers(t *testing.T) {
	c := New()
	set := newWorld(20)
	if r := c.Mesh(set); r.Findings.Len() > 0 {
		t.Fatalf("findings: %v", list(r))
	}
	r := c.Mesh(set.With(newRule(10, "v1")))
	if _, ok := r.Findings.Get("VirtualService/ns1/svc10"); !ok || r.Findings.Len() != 1 {
		t.Errorf("findings: %v", list(r))
	}
	if r = c.Mesh(set); r.Findings.Len() > 0 {
		t.Errorf("findings stay: %v", list(r))
	}
}

// TestCostFollowsTheChange is law 3 of the design in allocations, which do not
// depend on the machine: an edit costs at 2,000 services at most 1.3 times what
// it costs at 500.
func TestCostFollowsTheChange(t *testing.T) {
	for name, edit := range edits {
		cost := func(n int) float64 {
			c, set, i := New(), newWorld(n), 0
			c.Mesh(set)
			return testing.AllocsPerRun(50, func() {
				i++
				c.Mesh(set.With(edit(i)))
			})
		}
		if small, large := cost(500), cost(2000); large > 1.3*small {
			t.Errorf("%s: %v allocations at 500 services, %v at 2,000", name, small, large)
		}
	}
}

// edits that a benchmark repeats.
var edits = map[string]func(i int) *config.Object{
	"weight":   func(i int) *config.Object { return newVirtualService(10, int32(i%100)) },
	"endpoint": func(i int) *config.Object { return newSlice(10, 3+i%2, true) },
	"pod":      func(i int) *config.Object { return newPod(10, 0, "v"+strconv.Itoa(i%2)) },
	"rule":     func(i int) *config.Object { return newRule(10, "v1", "v2", "v"+strconv.Itoa(3+i%2)) },
}

func BenchmarkFromNothing(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			set := newWorld(n)
			b.ReportAllocs()
			for b.Loop() {
				Mesh(set)
			}
		})
	}
}

func BenchmarkOneEdit(b *testing.B) {
	for _, name := range []string{"weight", "endpoint"} {
		for _, n := range []int{100, 1000, 10_000} {
			b.Run(name+"/"+strconv.Itoa(n), func(b *testing.B) {
				set := newWorld(n)
				c := New()
				c.Mesh(set)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					set = set.With(edits[name](i))
					c.Mesh(set)
				}
			})
		}
	}
}
