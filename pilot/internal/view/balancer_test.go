package view_test

import (
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// TestLatencyHasNoPlace: the ejection that a latency-aware balancer brings with
// it asks for no locality; a rule's own does, as in Istio.
func TestLatencyHasNoPlace(t *testing.T) {
	s := meshtest.Service("reviews", "shop", "10.0.0.1", meshtest.Port(80, model.ProtocolHTTP))
	s.Balancer = model.LBLatency
	pod := meshtest.Pod("10.1.0.1", 80, "v1")
	pod.MTLS = true
	m := meshtest.New().Service(s).Endpoints(meshtest.Behind("reviews", "shop", 80, pod))
	class := model.ProxyClass{Role: model.RoleOutbound, Namespace: "shop"}
	cluster := func() *model.Cluster {
		c, ok := view.Of(m.Model(), class).Clusters.Get("outbound|80||" + s.Host)
		if !ok {
			t.Fatal("there is no cluster")
		}
		return c
	}
	if c := cluster(); c.Traffic.Outlier == nil || c.Traffic.LB.Algorithm != model.LBLatency || c.Locality != nil {
		t.Errorf("latency-aware: outlier detection %v, locality %v", c.Traffic.Outlier, c.Locality)
	}
	rule := meshtest.Rule("reviews", "shop", s.Host)
	rule.Traffic.Traffic.Outlier = &model.OutlierDetection{}
	m.Policy(rule)
	if c := cluster(); c.Locality == nil {
		t.Error("a rule with outlierDetection: no locality")
	}
}
