package pilot

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// namespaces is a mesh of 2,000 services in a hundred namespaces, with the
// lines of clients in some of them.
type namespaces struct {
	*meshtest.Mesh
	common *line
	lines  []*line
}

func newNamespaces() *namespaces {
	m := meshtest.New()
	for i := range 2000 {
		name, ns := fmt.Sprintf("s%05d", i), fmt.Sprintf("n%02d", i%100)
		m.Service(meshtest.Service(name, ns, fmt.Sprintf("10.100.%d.%d", i/250, 1+i%250), meshtest.Port(80, model.ProtocolHTTP)))
		m.Endpoints(meshtest.Behind(name, ns, 80, meshtest.Pod(fmt.Sprintf("10.1.%d.%d", i/250, 1+i%250), 8080, "v1")))
		if host := meshtest.Host(name, ns); i%10 == 0 {
			m.Policy(meshtest.Rule(name, ns, host, "v1", "v2"))
			m.VirtualService(meshtest.Routing(name, ns, host, meshtest.To(host, "v1", 90, "v2", 10)))
		}
	}
	key, _ := view.Common(model.ProxyClass{Role: model.RoleOutbound})
	n := &namespaces{Mesh: m, common: newLine(key)}
	n.publish()
	return n
}

// client adds the line of a namespace's clients.
func (n *namespaces) client() {
	l := n.common.fork(model.ProxyClass{Role: model.RoleOutbound, Namespace: fmt.Sprintf("n%02d", len(n.lines))})
	l.snapshot(n.Model())
	n.lines = append(n.lines, l)
}

// publish takes the mesh through all lines.
func (n *namespaces) publish() {
	mesh := n.Model()
	n.common.snapshot(mesh)
	for _, l := range n.lines {
		l.snapshot(mesh)
	}
}

// TestNamespaceIsCheap: what clients of one more namespace hold follows what
// the namespace has, and not the mesh.
func TestNamespaceIsCheap(t *testing.T) {
	const more, bound = 50, 2 << 20
	n := newNamespaces()
	n.client()
	before, start := heap(), time.Now()
	for range more {
		n.client()
	}
	took := time.Since(start) / more
	each := (heap() - before) / more
	t.Logf("one more namespace: %d kB, %v", each>>10, took)
	if each > bound {
		t.Errorf("one more namespace holds %d kB, want at most %d", each>>10, bound>>10)
	}
	for i := range 500 {
		n.moveEndpoint(i)
		n.publish()
	}
	if each := (heap() - before) / more; each > bound {
		t.Errorf("after many edits one more namespace holds %d kB, want at most %d", each>>10, bound>>10)
	} else {
		t.Logf("after many edits: %d kB", each>>10)
	}
	runtime.KeepAlive(n)
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// moveEndpoint gives service i%2000 another endpoint.
func (n *namespaces) moveEndpoint(i int) {
	name, ns := fmt.Sprintf("s%05d", i%2000), fmt.Sprintf("n%02d", i%100)
	n.Endpoints(meshtest.Behind(name, ns, 80, meshtest.Pod(fmt.Sprintf("10.2.%d.%d", i/250, 1+i%250), 8080, "v1")))
}

// TestEditIsTranslatedOnce: a change that all namespaces see alike costs each
// no more than taking over the result.
func TestEditIsTranslatedOnce(t *testing.T) {
	cost := func(lines int) float64 {
		n := newNamespaces()
		for range lines {
			n.client()
		}
		i := 0
		return testing.AllocsPerRun(100, func() {
			i += 1999 // of a namespace with and without a client
			n.moveEndpoint(i)
			n.publish()
		})
	}
	one, fifty := cost(1), cost(50)
	t.Logf("%.0f allocations with clients in one namespace, %.0f in fifty: %.0f for each", one, fifty, (fifty-one)/49)
	if each := (fifty - one) / 49; each > one/3 {
		t.Errorf("an endpoint costs %.0f allocations with one namespace, and %.0f more for each further one", one, each)
	}
}

// BenchmarkNamespaces edits one service's endpoints, with clients in some
// namespaces.
func BenchmarkNamespaces(b *testing.B) {
	for _, lines := range []int{1, 10, 100} {
		n := newNamespaces()
		for range lines {
			n.client()
		}
		b.Run(fmt.Sprintf("clients=%d", lines), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i += 1999 {
				n.moveEndpoint(i)
				n.publish()
			}
		})
	}
}
