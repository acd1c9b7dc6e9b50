package pilot

import (
	"fmt"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// bigMesh is a mesh of services with endpoints, and VirtualServices on a tenth
// of them, in the middle of the pipeline of one outbound class.
type bigMesh struct {
	set      config.Set
	compiler *compile.Compiler
	line     *line
	snap     snapshot.Snapshot
	edits    map[string][2]*config.Object // two states of one object, by kind of edit
}

func newBigMesh(t testing.TB, services int) *bigMesh {
	src := memory.New()
	add := func(text string) {
		if found := src.ApplyYAML("x.yaml", text); len(found) > 0 {
			t.Fatal(found)
		}
	}
	for i := range services {
		name := fmt.Sprintf("svc-%05d", i)
		add(service("shop", name))
		add(endpoints(name, fmt.Sprintf("10.%d.%d.1", 1+i/250, i%250)))
		if i < services/10 {
			add(weighted(name, 90))
		}
	}
	m := &bigMesh{set: src.Set(), compiler: compile.New(), line: newLine(model.ProxyClass{Role: model.RoleOutbound, Namespace: "shop"}), edits: map[string][2]*config.Object{}}
	m.edits["VirtualService"] = [2]*config.Object{decode(t, weighted("svc-00001", 50)), decode(t, weighted("svc-00001", 60))}
	m.edits["EndpointSlice"] = [2]*config.Object{decode(t, endpoints("svc-00001", "10.9.9.1")), decode(t, endpoints("svc-00001", "10.9.9.2"))}
	m.run()
	return m
}

func weighted(name string, weight int) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %[1]s, namespace: shop}\nspec:\n  hosts: [%[1]s]\n"+
		"  http: [{route: [{destination: {host: %[1]s}, weight: %[2]d}, {destination: {host: svc-00000}, weight: %[3]d}]}]\n", name, weight, 100-weight)
}

func decode(t testing.TB, text string) *config.Object {
	objects, found := config.Decode("x.yaml", []byte(text))
	if len(found) > 0 {
		t.Fatal(found)
	}
	return objects[0]
}

// run takes the set through all stages and returns how many resources changed.
func (m *bigMesh) run() (changed int) {
	next := m.line.snapshot(m.compiler.Mesh(m.set).Mesh)
	for _, typeURL := range next.Types() {
		for ch := range memo.Diff(m.snap.Of(typeURL), next.Of(typeURL)) {
			if !snapshot.Same(ch.Old, ch.New) {
				changed++
			}
		}
	}
	m.snap = next
	return changed
}

// edit puts one of the two states of an object into force.
func (m *bigMesh) edit(kind string, i int) int {
	m.set = m.set.With(m.edits[kind][i%2])
	return m.run()
}

// TestCostFollowsTheChange is law 3: at 2,000 services an edit costs at most
// 1.3 times what it costs at 500. Allocations are counted, which no load of
// the machine disturbs.
func TestCostFollowsTheChange(t *testing.T) {
	small, large := newBigMesh(t, 500), newBigMesh(t, 2000)
	for _, kind := range []string{"VirtualService", "EndpointSlice"} {
		cost := func(m *bigMesh) float64 {
			i := 0
			return testing.AllocsPerRun(50, func() {
				i++
				if n := m.edit(kind, i); n != 1 {
					t.Fatalf("one %s changed %d resources, want 1", kind, n)
				}
			})
		}
		s, l := cost(small), cost(large)
		t.Logf("%s: %.0f allocations at 500 services, %.0f at 2,000", kind, s, l)
		if l > 1.3*s {
			t.Errorf("%s: an edit costs %.2f times as much at 2,000 services as at 500", kind, l/s)
		}
	}
}

// BenchmarkEdit takes one edited object through compile, view and translate.
func BenchmarkEdit(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		m := newBigMesh(b, n)
		for _, kind := range []string{"VirtualService", "EndpointSlice"} {
			b.Run(fmt.Sprintf("%s/services=%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					m.edit(kind, i)
				}
			})
		}
	}
}

// BenchmarkFromNothing takes a whole mesh through all stages, decoding apart.
func BenchmarkFromNothing(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		set := newBigMesh(b, n).set
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m := &bigMesh{set: set, compiler: compile.New(), line: newLine(model.ProxyClass{Role: model.RoleOutbound, Namespace: "shop"})}
				start := time.Now()
				m.run()
				b.ReportMetric(float64(time.Since(start).Microseconds())/float64(n), "us/service")
			}
		})
	}
}
