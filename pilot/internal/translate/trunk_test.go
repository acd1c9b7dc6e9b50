package translate

import (
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// What the settings say anew is in every cluster.
func TestTrunkFollowsSettings(t *testing.T) {
	mesh := meshtest.New().Service(meshtest.Service("reviews", "default", "10.0.0.1", meshtest.Port(80, model.ProtocolHTTP)))
	tr := New()
	for _, timeout := range []time.Duration{3 * time.Second, 5 * time.Second} {
		mesh.Settings(func(s *model.Settings) { s.ConnectTimeout = timeout })
		for name, r := range tr.Snapshot(view.Of(mesh.Model(), meshtest.Outbound)).Of(snapshot.Cluster).All() {
			c := &cluster.Cluster{}
			if err := proto.Unmarshal(r.Body, c); err != nil {
				t.Fatal(err)
			}
			if got := c.GetConnectTimeout().AsDuration(); got != timeout {
				t.Errorf("%s: %v, want %v", name, got, timeout)
			}
		}
	}
}
