package pilot_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

const budgetConfig = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: now, labels: {version: v1}, trafficPolicy: {retryBudget: {percent: 20, minRetryConcurrency: 3}}}
  - {name: minute, labels: {version: v1}, trafficPolicy: {retryBudget: {percent: 20, minRetryConcurrency: 3, budgetInterval: 60s}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - {match: [{uri: {prefix: /now}}], retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}, route: [{destination: {host: reviews, subset: now}}]}
  - {match: [{uri: {prefix: /minute}}], retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}, route: [{destination: {host: reviews, subset: minute}}]}
`

// TestRetryBudgetInterval: with a budgetInterval the requests of that time
// count, though they have ended: a fifth of 40 and 10 lets all 10 be tried
// again; else no more than minRetryConcurrency.
func TestRetryBudgetInterval(t *testing.T) {
	t.Parallel()
	p := startWorld(t, budgetConfig)
	for path, want := range map[string]int32{"/now": 3, "/minute": 10} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			for range 40 {
				p.call(t, path, simulate.Upstream{})
			}
			var again atomic.Int32
			var all sync.WaitGroup
			for range 10 { // each tries again while the others do
				all.Go(func() {
					again.Add(int32(len(p.call(t, path, simulate.Upstream{Status: 503, Failures: 1, Delay: 2 * time.Second}))) - 1)
				})
			}
			all.Wait()
			if got := again.Load(); got != want {
				t.Errorf("%d of 10 requests were tried again, want %d", got, want)
			}
		})
	}
}
