package translate

import (
	"testing"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// A patch that Envoy would refuse takes nothing away, not even from the first
// snapshot of a class, and is named.
func TestBadPatchFromNothing(t *testing.T) {
	bad := &model.EnvoyFilter{Namespace: "default", Name: "bad", Patches: []model.Patch{{To: model.ToVirtualHost, Op: model.OpMerge, Value: `{"rate_limits":[{}]}`}}}
	v := *view.Of(meshtest.Bookshop().Model(), meshtest.Outbound)
	v.Filters = memo.Table[*model.EnvoyFilter]{}.With(bad.Key(), bad)
	tr := New()
	hosts := tr.Snapshot(&v).Of(snapshot.VirtualHost)
	if hosts.Len() != v.Hosts.Len() || hosts.Len() == 0 {
		t.Errorf("%d virtual hosts, want %d", hosts.Len(), v.Hosts.Len())
	}
	if problems := tr.Problems(); len(problems) != v.Hosts.Len() || problems[0].Patch == nil {
		t.Errorf("%+v", problems)
	}
}
