package translate

import (
	"fmt"
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

var sizes = []int{100, 1000, 10_000}

// BenchmarkFromNothing is the first snapshot of a class: scope and translation.
func BenchmarkFromNothing(b *testing.B) {
	for _, n := range sizes {
		mesh := meshtest.Large(n).Model()
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Snapshot(view.Of(mesh, meshtest.Outbound))
			}
		})
	}
}

// BenchmarkOneEdit is what one change costs a class: a weight of a
// VirtualService, or an endpoint.
func BenchmarkOneEdit(b *testing.B) {
	edits := map[string]func(m *meshtest.Mesh, i int){"weight": editWeight, "endpoint": editEndpoint}
	for _, kind := range []string{"weight", "endpoint"} {
		for _, n := range []int{100, 500, 2000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				m := meshtest.Large(n)
				viewer, tr := view.New(meshtest.Outbound), New()
				tr.Snapshot(viewer.View(m.Model()))
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					edits[kind](m, i)
					tr.Snapshot(viewer.View(m.Model()))
				}
			})
		}
	}
}

func editWeight(m *meshtest.Mesh, i int) {
	host := meshtest.Host("s00010", "default")
	m.VirtualService(meshtest.Routing("s00010", "default", host, meshtest.To(host, "v1", 10+i%80, "v2", 90-i%80)))
}

func editEndpoint(m *meshtest.Mesh, i int) {
	m.Endpoints(meshtest.Behind("s00020", "default", 80, meshtest.Pod(fmt.Sprintf("10.9.0.%d", 1+i%200), 8080, "v1")))
}

// edited says how many resources of each type an edit changes.
func edited(t *testing.T, class model.ProxyClass, edit func(*meshtest.Mesh)) map[string]int {
	t.Helper()
	m := meshtest.Large(50)
	viewer, tr := view.New(class), New()
	before := tr.Snapshot(viewer.View(m.Model()))
	edit(m)
	after := tr.Snapshot(viewer.View(m.Model()))
	return differences(before, after)
}

func differences(a, b snapshot.Snapshot) map[string]int {
	out := map[string]int{}
	for _, typeURL := range b.Types() {
		for name, r := range b.Of(typeURL).All() {
			if was, _ := a.Of(typeURL).Get(name); was != r {
				out[typeURL]++
			}
		}
	}
	return out
}
