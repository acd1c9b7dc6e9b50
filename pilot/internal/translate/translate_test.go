package translate

import (
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

func TestBookshop(t *testing.T) {
	mesh := meshtest.Bookshop().Model()
	for _, class := range []model.ProxyClass{meshtest.Outbound, meshtest.Inbound, meshtest.Router} {
		tr := New()
		tr.Snapshot(view.Of(mesh, class))
		for _, p := range tr.Problems() {
			t.Errorf("%s: %+v", class.Role, p)
		}
	}
}
