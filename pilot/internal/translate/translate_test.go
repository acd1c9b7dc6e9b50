package translate

import (
	"fmt"
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

func TestBookshop(t *testing.T) {
	mesh := meshtest.Bookshop().Model()
	for _, class := range []model.ProxyClass{meshtest.Outbound, meshtest.Inbound, meshtest.Router} {
		tr := New()
		snap := tr.Snapshot(view.Of(mesh, class))
		for _, p := range tr.Problems() {
			t.Errorf("%s: %+v", class.Role, p)
		}
		for _, u := range snap.Types() {
			for name := range snap.Of(u).All() {
				fmt.Println(class.Role, u[len(u)-20:], name)
			}
		}
	}
}
