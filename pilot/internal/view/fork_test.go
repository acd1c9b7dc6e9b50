package view

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// clients are outbound classes: of namespaces with and without objects, of the
// root namespace, and with labels that rules and routes select on.
var clients = []model.ProxyClass{
	{Role: model.RoleOutbound, Namespace: "default"},
	{Role: model.RoleOutbound, Namespace: "default", Labels: "app=a0"},
	{Role: model.RoleOutbound, Namespace: "other", Labels: "app=a1"},
	{Role: model.RoleOutbound, Namespace: "other", Labels: "app=a0"},
	{Role: model.RoleOutbound, Namespace: "weft-system"},
	{Role: model.RoleOutbound, Namespace: "nobody"},
	{Role: model.RoleOutbound, Namespace: "default", Sidecar: "default/s0"},
	{Role: model.RoleOutbound, Namespace: "default", Sidecar: "default/s0", Reach: model.ReachWide},
	{Role: model.RoleOutbound, Namespace: "other", Labels: "app=a0", Sidecar: "default/s1", Reach: model.ReachWide},
}

// narrow are those that see no more than a Sidecar names, or one that is not
// there any more.
var narrow = []model.ProxyClass{
	{Role: model.RoleOutbound, Namespace: "default", Sidecar: "default/s0", Reach: model.ReachNarrow},
	{Role: model.RoleOutbound, Namespace: "default", Labels: "app=a0", Sidecar: "default/s1", Reach: model.ReachNarrow},
	{Role: model.RoleOutbound, Namespace: "other", Sidecar: "default/s0", Reach: model.ReachNarrow},
	{Role: model.RoleOutbound, Namespace: "other", Sidecar: "default/gone", Reach: model.ReachNarrow},
}

// owners are those whose pods say the same of their own proxies.
var owners = []model.ProxyClass{
	{Role: model.RoleOutbound, Namespace: "default", Proxy: ownServer},
	{Role: model.RoleOutbound, Namespace: "other", Labels: "app=a0", Proxy: ownServer},
	{Role: model.RoleOutbound, Namespace: "nobody", Proxy: ownServer},
}

var ownServer = model.OwnProxy{Said: true, ProxySettings: model.ProxySettings{Headers: model.ProxyHeaders{Server: "mine"}}}

// servers are inbound classes: of workloads that services and policies select,
// with named ports and without, and of some that nothing selects.
var servers = []model.ProxyClass{
	{Role: model.RoleInbound, Namespace: "default"},
	{Role: model.RoleInbound, Namespace: "default", Labels: "app=a0"},
	{Role: model.RoleInbound, Namespace: "default", Labels: "app=a0", Ports: "http=8080"},
	{Role: model.RoleInbound, Namespace: "default", Labels: "app=reviews"},
	{Role: model.RoleInbound, Namespace: "other", Labels: "app=a1"},
	{Role: model.RoleInbound, Namespace: "weft-system", Labels: "app=a0"},
	{Role: model.RoleInbound, Namespace: "nobody"},
}

// TestForkEqualsFromNothing: each class's View is the one it would have
// without the others, and no entry is replaced by an equal one.
func TestForkEqualsFromNothing(t *testing.T) {
	t.Run("outbound", func(t *testing.T) { forkEqualsFromNothing(t, clients) })
	t.Run("narrow", func(t *testing.T) { forkEqualsFromNothing(t, narrow) })
	t.Run("owners", func(t *testing.T) { forkEqualsFromNothing(t, owners) })
	t.Run("inbound", func(t *testing.T) { forkEqualsFromNothing(t, servers) })
}

func forkEqualsFromNothing(t *testing.T, classes []model.ProxyClass) {
	rnd := rand.New(rand.NewPCG(11, 12))
	m := meshtest.Bookshop()
	key, _ := Common(classes[0])
	common := New(key)
	forks := map[model.ProxyClass]*Viewer{}
	for step := range 500 {
		for range 1 + rnd.IntN(2) {
			meshtest.Random(rnd, m)
		}
		mesh := m.Model()
		common.View(mesh)
		for _, class := range classes {
			if rnd.IntN(60) == 0 || forks[class] == nil {
				forks[class] = common.Fork(class)
				forks[class].View(mesh)
			}
			before := contents(forks[class].last)
			got, want := contents(forks[class].View(mesh)), contents(Of(mesh, class))
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("step %d: a fork of %+v and a Viewer of its own differ:\n%s", step, class, cmp.Diff(want, got))
			}
			for k, v := range got {
				if was := before[k]; k != "settings" && was != v && reflect.DeepEqual(was, v) { // settings are given, and may be set anew
					t.Errorf("step %d: %+v: %q was replaced by its equal", step, class, k)
				}
			}
		}
	}
}

// TestForkHoldsWhatDiffers counts the functions' results that a fork holds
// itself, by what its namespace has.
func TestForkHoldsWhatDiffers(t *testing.T) {
	m := meshtest.Large(500)
	m.Service(meshtest.Service("own", "shop", "10.9.0.1", meshtest.Port(80, model.ProtocolHTTP)))
	mesh := m.Model()
	key, _ := Common(meshtest.Outbound)
	common := New(key)
	base := common.View(mesh)
	for namespace, want := range map[string]int{"nobody": 0, "shop": 1} {
		v := common.Fork(model.ProxyClass{Role: model.RoleOutbound, Namespace: namespace}).View(mesh)
		if own := changed(base, v); len(own) != want {
			t.Errorf("namespace %q: %d entries are not those of the others, want %d: %v", namespace, len(own), want, own)
		}
	}
}
