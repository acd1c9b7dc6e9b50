package simulate

import (
	"fmt"
	"slices"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Ejection is what outlier detection makes of an endpoint that goes on
// failing.
type Ejection struct {
	Cluster  string
	Endpoint string // "IP:PORT"
	// After is how many failures put it out; 0: it is never put out.
	After int
	// For is how long it stays out, the time to the next sweep included.
	For time.Duration
}

// Eject says what becomes of the endpoint call.Upstream.Only when call is made
// again and again. The call must go to one cluster.
// Source: "Outlier detection" of Envoy's documentation.
func (c *Config) Eject(call Call) (Ejection, error) {
	out := Ejection{Endpoint: call.Upstream.Only}
	failure := call.Upstream
	call.Upstream = Upstream{}
	found, err := c.Run(call)
	if err != nil {
		return out, err
	}
	if len(found) != 1 || found[0].Cluster == "" {
		return out, fmt.Errorf("the call must go to one cluster, it has %d outcomes", len(found))
	}
	out.Cluster = found[0].Cluster
	cl := c.clusters[out.Cluster]
	d := cl.GetOutlierDetection()
	if d == nil {
		return out, nil
	}
	members, _, err := c.members(out.Cluster, connection{})
	if err != nil {
		return out, err
	}
	known := slices.ContainsFunc(members, func(t member) bool { return t.Address == out.Endpoint })
	if !known {
		return out, fmt.Errorf("%s is no endpoint of %s", out.Endpoint, found[0].Cluster)
	}
	out.For = orDefault(d.GetBaseEjectionTime().AsDuration(), 30*time.Second) + orDefault(d.GetInterval().AsDuration(), 10*time.Second)
	codes, err := errorCodes(cl)
	if err != nil {
		return out, err
	}
	if len(codes) > 0 && !failure.Refuse {
		if failed := slices.Contains(codes, failure.status(1)); failed {
			failure.Status = 500
		} else {
			failure.Status = 200
		}
	}
	out.After = threshold(d, failure)
	put := len(call.Ejected[out.Cluster])
	all := len(members)
	if most := uint32(100 * (put + 1) / all); most > value(d.GetMaxEjectionPercent(), 10) && !d.GetAlwaysEjectOneHost().GetValue() {
		out.After = 0
	}
	return out, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func value(v *wrapperspb.UInt32Value, otherwise uint32) uint32 {
	if v == nil {
		return otherwise
	}
	return v.GetValue()
}

// threshold is how many failures of a kind in a row are enforced to eject.
func threshold(d *cluster.OutlierDetection, failure Upstream) (least int) {
	status := failure.Status
	if failure.Refuse {
		status = 503
	}
	local := failure.Refuse && d.GetSplitExternalLocalOriginErrors()
	for _, detector := range []struct {
		counts            bool
		limit, enforced   *wrapperspb.UInt32Value
		enforcedByDefault uint32
	}{
		{status >= 500 && !local, d.GetConsecutive_5Xx(), d.GetEnforcingConsecutive_5Xx(), 100},
		{status >= 502 && status <= 504 && !local, d.GetConsecutiveGatewayFailure(), d.GetEnforcingConsecutiveGatewayFailure(), 0},
		{local, d.GetConsecutiveLocalOriginFailure(), d.GetEnforcingConsecutiveLocalOriginFailure(), 100},
	} {
		n := int(value(detector.limit, 5))
		if detector.counts && value(detector.enforced, detector.enforcedByDefault) > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}
