package translate

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

var everyClass = []model.ProxyClass{meshtest.Outbound, meshtest.Inbound, meshtest.Router}

func TestNothingIsRefused(t *testing.T) {
	mesh := meshtest.Bookshop().Model()
	for _, class := range everyClass {
		tr := New()
		tr.Snapshot(view.Of(mesh, class))
		for _, p := range tr.Problems() {
			t.Errorf("%s: %+v", class.Role, p)
		}
	}
}

func TestOneEditChangesOneResource(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*meshtest.Mesh)
		want map[string]int
	}{
		"weight":    {func(m *meshtest.Mesh) { editWeight(m, 1) }, map[string]int{snapshot.VirtualHost: 1}},
		"endpoint":  {func(m *meshtest.Mesh) { editEndpoint(m, 1) }, map[string]int{snapshot.Endpoint: 3}},
		"unrelated": {func(m *meshtest.Mesh) { m.Policy(meshtest.Rule("x", "default", "x.example", "v9")) }, map[string]int{}},
		"service": {
			func(m *meshtest.Mesh) {
				m.Service(meshtest.Service("new", "default", "10.200.0.1", meshtest.Port(80, model.ProtocolHTTP)))
			},
			map[string]int{snapshot.Cluster: 1, snapshot.Endpoint: 1, snapshot.VirtualHost: 1, snapshot.Name: 1},
		},
	} {
		if got := edited(t, meshtest.Outbound, tc.edit); !maps.Equal(got, tc.want) {
			t.Errorf("%s: changed %v, want %v", name, got, tc.want)
		}
	}
}

// TestOrderDoesNotMatter: equal meshes give equal bytes, in whatever order
// their objects came.
func TestOrderDoesNotMatter(t *testing.T) {
	mesh := meshtest.Bookshop().Model()
	other := *mesh
	other.Services, other.Endpoints, other.VirtualServices = shuffled(mesh.Services), shuffled(mesh.Endpoints), shuffled(mesh.VirtualServices)
	for _, class := range everyClass {
		a, b := Snapshot(view.Of(mesh, class)), Snapshot(view.Of(&other, class))
		for _, typeURL := range a.Types() {
			if a.Of(typeURL).Len() != b.Of(typeURL).Len() {
				t.Errorf("%s: another number of %s", class.Role, typeURL)
			}
			for name, r := range a.Of(typeURL).All() {
				if o, _ := b.Of(typeURL).Get(name); !snapshot.Same(r, o) {
					t.Errorf("%s: %s %q differs", class.Role, typeURL, name)
				}
			}
		}
	}
}

func shuffled[V comparable](t memo.Table[V]) (out memo.Table[V]) {
	var keys []string
	for k := range t.All() {
		keys = append(keys, k)
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, k := range keys {
		v, _ := t.Get(k)
		out = out.With(k, v)
	}
	return out
}

// TestLastGoodStays: what Envoy would refuse is not published, its last good
// state stays, and the culprit is named.
func TestLastGoodStays(t *testing.T) {
	host := meshtest.Host("reviews", "default")
	m, viewer, tr := meshtest.Bookshop(), view.New(meshtest.Outbound), New()
	before := tr.Snapshot(viewer.View(m.Model()))
	bad := meshtest.Routing("reviews", "default", host, meshtest.To(host, "v1", 1))
	bad.HTTP[0].Action = &model.DirectResponse{Status: 7}
	after := tr.Snapshot(viewer.View(m.VirtualService(bad).Model()))
	problems := tr.Problems()
	if len(problems) != 1 || len(problems[0].Sources) != 1 || problems[0].Sources[0] != "VirtualService/default/reviews" {
		t.Fatalf("problems: %+v", problems)
	}
	if d := differences(before, after); len(d) != 0 {
		t.Errorf("published: %v", d)
	}
	good := meshtest.Routing("reviews", "default", host, meshtest.To(host, "v2", 1))
	if d := differences(after, tr.Snapshot(viewer.View(m.VirtualService(good).Model()))); d[snapshot.VirtualHost] != 1 || len(tr.Problems()) != 0 {
		t.Errorf("after the cure: %v, %+v", d, tr.Problems())
	}
}

// TestZeroValues: translation is total.
func TestZeroValues(t *testing.T) {
	empty := New()
	empty.Snapshot(nil)
	empty.Snapshot(&model.View{})
	s := &model.Service{}
	route := func(a model.Action) *model.Route {
		return &model.Route{Action: a, Fault: &model.Fault{}, CORS: &model.CORS{}}
	}
	v := &model.View{
		Clusters:    memo.Table[*model.Cluster]{}.With("c", &model.Cluster{Service: s}),
		Assignments: memo.Table[*model.Assignment]{}.With("c", &model.Assignment{}),
		Listeners:   memo.Table[*model.Listener]{}.With("l", &model.Listener{Chains: []model.Chain{{}, {HTTP: &model.HTTPChain{}, TLS: &model.ServerTLS{}}, {TCP: &model.TCPChain{}}}}),
		Tables:      memo.Table[*model.RouteTable]{}.With("t", &model.RouteTable{}),
		Hosts: memo.Table[*model.VirtualHost]{}.With("t/h", &model.VirtualHost{Routes: []*model.Route{
			{}, route(&model.Forward{Rewrite: &model.Rewrite{}, Retry: &model.Retry{}, Mirrors: []model.Mirror{{}}}), route(&model.Redirect{}), route(&model.DirectResponse{}),
		}}),
		Names:   memo.Table[*model.Name]{}.With("n", &model.Name{}),
		Secrets: memo.Table[*model.Secret]{}.With("s", &model.Secret{}),
		Inbound: &model.Inbound{Ports: []model.InboundPort{{}}},
	}
	tr := New()
	tr.Snapshot(v)
	if len(tr.Problems()) == 0 {
		t.Error("zero values are accepted")
	}
	traffic := model.Traffic{
		LB: &model.LoadBalancer{Algorithm: model.LBHash, Hash: &model.ConsistentHash{}, Warmup: &model.Warmup{}}, Pool: &model.ConnectionPool{Keepalive: true},
		Outlier: &model.OutlierDetection{}, TLS: &model.ClientTLS{Mode: model.TLSSimple},
	}
	next := *v
	next.Clusters = v.Clusters.With("d", &model.Cluster{Name: "d", Service: s, Traffic: traffic})
	tr.Snapshot(&next)
}

// TestIncrementalEqualsFromNothing: whatever is edited, the snapshot is that of
// a run from nothing, and Envoy would refuse none of it.
func TestIncrementalEqualsFromNothing(t *testing.T) {
	for _, class := range everyClass {
		rnd := rand.New(rand.NewPCG(3, 4))
		m, viewer, tr := meshtest.Bookshop(), view.New(class), New()
		for step := range 150 {
			meshtest.Random(rnd, m)
			got, want := tr.Snapshot(viewer.View(m.Model())), Snapshot(view.Of(m.Model(), class))
			for _, typeURL := range want.Types() {
				for ch := range memo.Diff(want.Of(typeURL), got.Of(typeURL)) {
					if !snapshot.Same(ch.Old, ch.New) {
						t.Fatalf("%s, step %d: %s %q differs", class.Role, step, typeURL, ch.Key)
					}
				}
			}
			if p := tr.Problems(); len(p) > 0 {
				t.Fatalf("%s, step %d: %+v", class.Role, step, p)
			}
		}
	}
}
