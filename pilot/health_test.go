package pilot_test

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

const checkedConfig = `
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: default, annotations: {weft.mesh/health-check: "grpc interval=1s timeout=1s"}}
spec: {clusterIP: 10.96.0.11, selector: {app: ratings}, ports: [{name: grpc, port: 9080, targetPort: 9080}]}
`

// TestHealthCheckTakesEndpointsOut: an endpoint that does not answer gRPC's
// health protocol, though it answers requests, gets none.
func TestHealthCheckTakesEndpointsOut(t *testing.T) {
	t.Parallel()
	p := startWorld(t, checkedConfig)
	for host, want := range map[string]int{"ratings": 503, "reviews": 200} {
		address, err := p.lookup.Address(host)
		if err != nil {
			t.Fatal(err)
		}
		found, err := p.Do(t.Context(), simulate.Call{
			Listener: "virtualOutbound", Destination: netip.AddrPortFrom(address, 9080), Host: host + ":9080", Path: "/",
		})
		if err != nil || found.Status != want {
			t.Errorf("%s: status %d (%v), want %d", host, found.Status, err, want)
		}
	}
}

// askedConfig has a check of reviews, and answers for all from half its
// endpoints on.
const askedConfig = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default, annotations: {weft.mesh/health-check: "%s interval=1s timeout=1s healthy=1 unhealthy=1"}}
spec: {clusterIP: 10.96.0.10, selector: {app: reviews}, ports: [{name: http, port: 9080, targetPort: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 0, minHealthPercent: 50}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{retries: {attempts: 0}, route: [{destination: {host: reviews}}]}]}
`

// TestHealthCheckAsksForAPath: endpoints whose answer to the check is no 200,
// though they answer requests, are out until it is. With fewer than
// minHealthPercent left all get requests again.
// Source: Istio, OutlierDetection.min_health_percent.
func TestHealthCheckAsksForAPath(t *testing.T) {
	t.Parallel()
	p := startWorld(t, fmt.Sprintf(askedConfig, "http:/healthz"))
	const first, second, third = "10.1.0.1:9080", "10.1.0.2:9080", "10.1.0.3:9080"
	p.awaitCalls(t, "all are well", first, second, third)
	healFirst := p.Behave(simulate.Upstream{Status: 503, Only: first})
	p.awaitCalls(t, "one of three is ill", second, third)
	healSecond := p.Behave(simulate.Upstream{Status: 404, Only: second})
	p.awaitCalls(t, "one of three is left", first, second, third)
	healSecond()
	p.awaitCalls(t, "two of three are left", second, third)
	healFirst()
	p.awaitCalls(t, "all are well again", first, second, third)
}

// TestHealthCheckConnects: endpoints that cannot be connected to by mTLS are out
// until they can.
func TestHealthCheckConnects(t *testing.T) {
	t.Parallel()
	p := startWorld(t, fmt.Sprintf(askedConfig, "tcp"))
	p.awaitCalls(t, "all are well", "10.1.0.1:9080", "10.1.0.2:9080", "10.1.0.3:9080")
	heal := p.Behave(simulate.Upstream{Refuse: true, Only: "10.1.0.1:9080"})
	p.awaitCalls(t, "one of three is ill", "10.1.0.2:9080", "10.1.0.3:9080")
	heal()
	p.awaitCalls(t, "all are well again", "10.1.0.1:9080", "10.1.0.2:9080", "10.1.0.3:9080")
}

// awaitCalls waits until twelve calls of reviews go, evenly, to these endpoints.
func (w world) awaitCalls(t *testing.T, when string, endpoints ...string) {
	t.Helper()
	want := map[string]int{}
	for _, e := range endpoints {
		want[e] = 12 / len(endpoints)
	}
	start := time.Now()
	eventually(t, fmt.Sprintf("calls to %v: %s", endpoints, when), func() bool {
		got := map[string]int{}
		for range 12 {
			for _, seen := range w.try(t, simulate.Call{}).Seen {
				got[seen.Endpoint]++
			}
		}
		return maps.Equal(got, want)
	})
	t.Logf("%s: after %v", when, time.Since(start))
}
