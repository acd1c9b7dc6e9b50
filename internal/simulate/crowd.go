package simulate

import (
	"fmt"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// Crowd is what becomes of calls that are made at once.
type Crowd struct {
	// Statuses is how many end with each status.
	Statuses map[int]int
	// Refused is how many are over a limit, and Flags are theirs.
	Refused int
	Flags   string
	// Connections to the endpoint that the others take.
	Connections int
}

// AtOnce says what becomes of n calls that are made at once, each held by its
// endpoint until all are there. The call must go to one cluster with one
// endpoint. Source: "Circuit breaking" of Envoy's documentation.
func (c *Config) AtOnce(call Call, n int) (Crowd, error) {
	out := Crowd{Statuses: map[int]int{}, Flags: overflow.String()}
	found, err := c.Run(call)
	if err != nil {
		return out, err
	}
	if len(found) != 1 || len(found[0].Upstreams) != 1 {
		return out, fmt.Errorf("calls at once must go to one cluster with one endpoint")
	}
	limits := c.clusters[found[0].Cluster].GetCircuitBreakers().GetThresholds()
	if len(limits) != 1 {
		return out, unknown("%d thresholds of circuit breakers", len(limits))
	}
	l, way := limits[0], found[0].Way
	admitted, connections := uint64(value(l.GetMaxRequests(), 1024)), uint64(value(l.GetMaxConnections(), 1024))
	if way.Protocol == "HTTP/1.1" {
		admitted = min(admitted, connections+uint64(value(l.GetMaxPendingRequests(), 1024)))
	}
	refusal := 503
	if found[0].Attempts > 1 { // all are let in, but so many only are tried again
		admitted, refusal = retries(l, n), call.Upstream.status(1)
	}
	taken := int(min(admitted, uint64(n)))
	out.Refused = n - taken
	out.Statuses[found[0].Status] += taken
	if out.Refused > 0 {
		out.Statuses[refusal] += out.Refused
	}
	switch {
	case way.Protocol == "HTTP/1.1":
		out.Connections = int(min(connections, uint64(taken)))
	case way.Streams > 0:
		out.Connections = (taken + int(way.Streams) - 1) / int(way.Streams)
	default:
		out.Connections = 1
	}
	return out, nil
}

// retries is how many of n requests may be tried again at once.
func retries(l *cluster.CircuitBreakers_Thresholds, n int) uint64 {
	b := l.GetRetryBudget()
	if b == nil {
		return uint64(value(l.GetMaxRetries(), 3))
	}
	percent := 20.0
	if b.GetBudgetPercent() != nil {
		percent = b.GetBudgetPercent().GetValue()
	}
	return max(uint64(value(b.GetMinRetryConcurrency(), 3)), uint64(percent*float64(n)/100))
}
