package pilot_test

import (
	"slices"
	"testing"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/simulate"
)

const remoteConfig = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - {match: [{uri: {prefix: /remote}}], retries: {attempts: 2, retryOn: 5xx, backoff: 1ms, retryRemoteLocalities: true}, route: [{destination: {host: reviews}}]}
  - {match: [{uri: {prefix: /near}}], retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}, route: [{destination: {host: reviews}}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: default, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints:
- {addresses: [10.1.0.1], zone: near, conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v1, namespace: default}}
- {addresses: [10.1.0.2], zone: near, conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v2, namespace: default}}
- {addresses: [10.1.0.3], zone: remote, conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v3, namespace: default}}
`

// TestRetriesGoToOtherLocalities: with retryRemoteLocalities a request that has
// failed twice near by is tried in another locality, though endpoints near by
// are healthy. Which of them is nearer is a matter of priorities; they are set
// here as locality failover would.
func TestRetriesGoToOtherLocalities(t *testing.T) {
	t.Parallel()
	all := worldResources(t, remoteConfig)
	for _, r := range all {
		a := &endpoint.ClusterLoadAssignment{}
		if r.GetResource().UnmarshalTo(a) != nil {
			continue
		}
		for i, l := range a.GetEndpoints() {
			l.Priority = uint32(i)
		}
		var err error
		if r.Resource, err = anypb.New(a); err != nil {
			t.Fatal(err)
		}
	}
	p := startWith(t, all)
	for path, remote := range map[string]bool{"/remote": true, "/near": false} {
		var tried []string
		for _, s := range p.call(t, path, simulate.Upstream{Status: 503, Failures: 2}) {
			tried = append(tried, s.Endpoint)
		}
		if len(tried) != 3 || slices.Contains(tried[:2], newcomer) || (tried[2] == newcomer) != remote {
			t.Errorf("%s: tried %v; the third try should be remote: %v", path, tried, remote)
		}
	}
}
