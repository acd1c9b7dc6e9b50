package pilot_test

import (
	"math"
	"net/netip"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
	"github.com/weftmesh/weft/test/golden"
)

// warmupWindow is the duration in warmupConfig.
const warmupWindow = 3 * time.Second

const warmupConfig = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - {name: least, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 3s}}}}
  - {name: half, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 3s, minimumPercent: 50}}}}
  - {name: steep, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 3s, minimumPercent: 1, aggression: 4}}}}
  - {name: old, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST, warmupDurationSecs: 3s}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - {match: [{uri: {prefix: /least}}], route: [{destination: {host: reviews, subset: least}}]}
  - {match: [{uri: {prefix: /half}}], route: [{destination: {host: reviews, subset: half}}]}
  - {match: [{uri: {prefix: /steep}}], route: [{destination: {host: reviews, subset: steep}}]}
  - {match: [{uri: {prefix: /old}}], route: [{destination: {host: reviews, subset: old}}]}
  - {route: [{destination: {host: reviews}}]}
`

// twoEndpoints are reviews before the third comes.
const twoEndpoints = `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: default, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v1, namespace: default}}
- {addresses: [10.1.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v2, namespace: default}}
`

// newcomer is the third.
const newcomer = "10.1.0.3:9080"

// warming are the routes of warmupConfig, and the part that an endpoint has
// after some time: max(minimumPercent, (time/duration)^(1/aggression)).
// Source: "Slow start mode" of Envoy's documentation.
var warming = map[string]func(since time.Duration) float64{
	"/none":  func(time.Duration) float64 { return 1 },
	"/least": func(since time.Duration) float64 { return max(0.1, fraction(since)) },
	"/half":  func(since time.Duration) float64 { return max(0.5, fraction(since)) },
	"/steep": func(since time.Duration) float64 { return max(0.01, math.Pow(fraction(since), 0.25)) },
	"/old":   func(since time.Duration) float64 { return max(0.1, fraction(since)) },
}

func fraction(since time.Duration) float64 {
	return min(1, float64(max(since, time.Millisecond))/float64(warmupWindow))
}

// TestWarmup adds an endpoint to a service of two and counts what it gets while
// it is new. How much it may be follows from the time that the calls took.
func TestWarmup(t *testing.T) {
	t.Parallel()
	p := startWorld(t, warmupConfig+twoEndpoints)
	ready := time.Now()
	for time.Since(ready) < warmupWindow { // until the first two are warm
		p.call(t, "/none", simulate.Upstream{})
	}
	before := time.Now()
	if err := p.Endpoints(t.Context(), worldResources(t, warmupConfig)); err != nil {
		t.Fatal(err)
	}
	there := time.Now()
	got := map[string]int{}
	earliest, latest := map[string][]time.Duration{}, map[string][]time.Duration{}
	for range 60 {
		for path := range warming {
			earliest[path] = append(earliest[path], time.Since(there))
			if seen := p.call(t, path, simulate.Upstream{}); seen[0].Endpoint == newcomer {
				got[path]++
			}
			latest[path] = append(latest[path], time.Since(before))
		}
	}
	for path, part := range warming {
		// Envoy begins a rotation at a random place: the new endpoint's first turn
		// is at once, or after as long as its part at first makes it wait.
		least, most := picks(part, earliest[path], 1/part(0))-2, picks(part, latest[path], 0)+2
		if n := got[path]; n < least || n > most {
			t.Errorf("%s: the new endpoint got %d of 60 calls, want %d to %d", path, n, least, most)
		} else {
			t.Logf("%s: %d calls of %d to %d", path, n, least, most)
		}
	}
}

// picks is how often a weighted rotation (earliest deadline first) chooses an
// endpoint with a part that grows, beside two with a whole one, at these times.
// Its first turn is at deadline, in turns of a whole one.
func picks(part func(time.Duration) float64, at []time.Duration, deadline float64) (n int) {
	now := 0.0
	for _, since := range at {
		if deadline <= now {
			n++
			deadline += 1 / part(since)
		} else {
			now += 0.5
		}
	}
	return n
}

// world is an Envoy of a sidecar beside the services of testdata/world.yaml.
type world struct {
	*envoy.Proxy
	lookup golden.Resolver
}

// worldResources are what the sidecar gets with text applied.
func worldResources(t *testing.T, text string) []*discovery.Resource {
	t.Helper()
	set := config.Set{}
	for _, content := range []string{(behaviour{}).world(t), text} {
		objects, wrong := config.Decode("config.yaml", []byte(content))
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
		for _, o := range objects {
			set = set.With(o)
		}
	}
	return resources(set, model.Proxy{Sidecar: true, Namespace: "default", Proven: true})
}

func startWorld(t *testing.T, text string) world {
	t.Helper()
	return startWith(t, worldResources(t, text))
}

// caller is the workload beside which a world's Envoy is.
var caller = node.Node{Name: "caller-1", Workload: "caller", Namespace: "default"}

func startWith(t *testing.T, all []*discovery.Resource) world {
	t.Helper()
	return startOptions(t, envoy.Options{Resources: all})
}

func startOptions(t *testing.T, opts envoy.Options) world {
	t.Helper()
	binary, err := envoybin.Ensure(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	lookup, err := golden.Lookup(opts.Resources, "default")
	if err != nil {
		t.Fatal(err)
	}
	opts.Binary, opts.Environment = binary, caller.Environment()
	p, err := envoy.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return world{p, golden.Resolver{Address: lookup}}
}

// call asks reviews, and returns what its endpoints saw.
func (w world) call(t *testing.T, path string, answer simulate.Upstream) []envoy.Seen {
	t.Helper()
	return w.do(t, simulate.Call{Path: path, Upstream: answer}).Seen
}

// do sends a call to reviews that an endpoint must see.
func (w world) do(t *testing.T, call simulate.Call) envoy.Observed {
	t.Helper()
	found := w.try(t, call)
	if len(found.Seen) == 0 {
		t.Fatalf("%s: no endpoint saw it: %+v", call.Path, found)
	}
	return found
}

// try sends a call to reviews.
func (w world) try(t *testing.T, call simulate.Call) envoy.Observed {
	t.Helper()
	address, err := w.lookup.Address("reviews")
	if err != nil {
		t.Fatal(err)
	}
	call.Listener, call.Destination, call.Host = "virtualOutbound", netip.AddrPortFrom(address, 9080), "reviews:9080"
	found, err := w.Do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
