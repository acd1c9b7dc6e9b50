package view

import (
	"time"

	"github.com/weftmesh/weft/internal/model"
)

// balanced is the traffic policy of a cluster with the load balancer that is in
// force: the DestinationRule's, else the one that weft.mesh/load-balancer asks
// for. LATENCY_AWARE needs reports, so that a cluster with an endpoint that is
// not called by mesh mTLS (plain), or that does not speak HTTP, falls back to
// LEAST_REQUEST; and so does one that is balanced by zone, which Envoy does not
// do with weights that are reported.
func balanced(c *model.Cluster, settings *model.Settings, plain bool) model.Traffic {
	t := c.Traffic
	chosen := model.LBDefault
	if t.LB != nil {
		chosen = t.LB.Algorithm
	}
	if chosen != model.LBDefault || c.Service.Balancer == model.LBDefault {
		return t
	}
	zones := localityFor(c.Service, t, settings)
	zoned := zones != nil && zones.Zones != nil
	lb := model.LoadBalancer{}
	if t.LB != nil {
		lb = *t.LB
	}
	lb.Algorithm = c.Service.Balancer
	if lb.Algorithm == model.LBLatency && (plain || zoned || !reporting(c, settings)) {
		lb.Algorithm = model.LBLeastRequest
	}
	t.LB = &lb
	if lb.Algorithm == model.LBLatency && t.Outlier == nil {
		t.Outlier = latencyOutlier()
	}
	return t
}

// reporting reports whether the sidecars of c's endpoints, if all have one,
// are called so that they report.
func reporting(c *model.Cluster, settings *model.Settings) bool {
	mesh := c.Traffic.TLS == nil && settings.AutoMTLS && !c.Plain || c.Traffic.TLS != nil && c.Traffic.TLS.Mode == model.TLSMesh
	return mesh && c.Port.Protocol.IsHTTP() && c.Service.Resolve == model.ResolveEndpoints
}

// latencyOutlier is the outlier detection of latency-aware clusters that have
// no other. What a host cannot report itself (its sidecar is gone, or it answers
// nothing but errors) puts it out, at most every second one, so that the only
// host of a service never is.
func latencyOutlier() *model.OutlierDetection {
	five, half := uint32(5), uint32(50)
	return &model.OutlierDetection{Consecutive5xx: &five, Interval: time.Second, BaseEjection: 5 * time.Second, MaxEjectionPercent: &half}
}
