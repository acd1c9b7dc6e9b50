package translate

import (
	"math/rand/v2"
	"testing"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// TestForkEqualsFromNothing: clients that share a common pipeline have the
// snapshots that they would have without it, and a resource that is replaced
// has another content.
func TestForkEqualsFromNothing(t *testing.T) {
	forkEqualsFromNothing(t, model.OwnProxy{})
	forkEqualsFromNothing(t, model.OwnProxy{Said: true, ProxySettings: model.ProxySettings{Headers: model.ProxyHeaders{NoAttemptCount: true, KeepCase: true}}})
}

func forkEqualsFromNothing(t *testing.T, own model.OwnProxy) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(13, 14))
	type client struct {
		class  model.ProxyClass
		viewer *view.Viewer
		*Translator
	}
	var clients []*client
	for _, namespace := range []string{"default", "other", "weft-system", "nobody"} {
		clients = append(clients, &client{class: model.ProxyClass{Role: model.RoleOutbound, Namespace: namespace, Labels: "app=a0", Proxy: own}})
	}
	key, _ := view.Common(clients[0].class)
	m, viewer, common := meshtest.Bookshop(), view.New(key), New()
	for step := range 120 {
		meshtest.Random(rnd, m)
		mesh := m.Model()
		common.Snapshot(viewer.View(mesh))
		for _, c := range clients {
			if rnd.IntN(40) == 0 || c.Translator == nil {
				c.viewer, c.Translator = viewer.Fork(c.class), common.Fork()
			}
			before := c.last
			got, want := c.Snapshot(c.viewer.View(mesh)), Snapshot(view.Of(mesh, c.class))
			for _, typeURL := range want.Types() {
				for ch := range memo.Diff(want.Of(typeURL), got.Of(typeURL)) {
					if !snapshot.Same(ch.Old, ch.New) {
						t.Fatalf("step %d: %s: %s %q differs", step, c.class.Namespace, typeURL, ch.Key)
					}
				}
				for ch := range memo.Diff(before.Of(typeURL), got.Of(typeURL)) {
					if ch.InOld && ch.InNew && sameRendered(rendered{resource: ch.Old}, rendered{resource: ch.New}) {
						t.Errorf("step %d: %s: %s %q was replaced by its equal", step, c.class.Namespace, typeURL, ch.Key)
					}
				}
			}
		}
	}
}
