package translate

import (
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// TestGRPCResourcesAreValid: what is made for gRPC libraries passes the checks
// of its own messages, secured as well as not.
func TestGRPCResourcesAreValid(t *testing.T) {
	for _, bare := range []bool{false, true} {
		class := model.ProxyClass{Role: model.RoleGRPCClient, Namespace: "default", Bare: bare}
		tr := For(class.Role)
		snap := tr.Snapshot(view.Of(meshtest.Bookshop().Model(), class))
		for _, p := range tr.Problems() {
			t.Errorf("%s %s: %s", p.Type, p.Name, p.Reason)
		}
		for _, typeURL := range []string{snapshot.Cluster, snapshot.Endpoint, snapshot.Listener, snapshot.Route} {
			if snap.Of(typeURL).Len() == 0 {
				t.Errorf("there is no %s", typeURL)
			}
		}
	}
	for _, mode := range []model.MTLSMode{model.MTLSPermissive, model.MTLSStrict, model.MTLSDisable} {
		b := &builder{shared: shared{Settings: &model.Settings{}, class: class{Role: model.RoleGRPCServer}}}
		for _, m := range b.grpcServers(&model.Inbound{Ports: []model.InboundPort{{Port: 9000, Mode: mode, Cluster: "inbound|9000||"}}}) {
			if r := b.render(snapshot.Listener, m); r.notes().problem != "" {
				t.Errorf("%v: %s: %s", mode, m.name, r.notes().problem)
			}
		}
	}
	b := &builder{shared: shared{Settings: &model.Settings{TrustDomain: "cluster.local"}}}
	for _, identities := range [][]string{nil, {"spiffe://cluster.local/ns/a/sa/b"}} {
		if b.grpcMesh(&model.Cluster{SNI: "outbound_.80_._.a"}, identities); len(b.errs) > 0 {
			t.Error(b.errs)
		}
	}
}
