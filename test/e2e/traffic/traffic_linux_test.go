package traffic

import (
	"fmt"
	"testing"
)

// TestTraffic runs all parts on one cluster. Certificates hold for a
// minute and a half, so that all that is done here is done while they rotate,
// and a machine that stands still for a while lets none of them end.
func TestTraffic(t *testing.T) {
	b := newBench(t)
	b.MustWeft("", "install", "-y", "--set", "ca.ttl=90s", "--set", "ca.maxTTL=1h", "--set", "pilot.replicas=1", "--set", "ca.replicas=1", "--set", "injector.replicas=1")
	b.deploy()
	b.part("every hop", false, (*bench).everyHop)
	b.part("figures", false, (*bench).figures)
	b.part("gRPC", false, (*bench).grpc)
	b.part("all", false, func(b *bench) {
		b.part("bookshop", true, (*bench).canary)
		b.part("fields", true, (*bench).fields)
		b.part("identities", true, (*bench).security)
		b.part("rotation", true, (*bench).rotation)
	})
}

// deploy brings up the samples, and waits until the gateway answers for all.
func (b *bench) deploy() {
	b.Helper()
	for _, ns := range []string{"shop", "calls", "fields"} {
		b.namespace(ns)
	}
	b.Must("", "apply", "-n", "shop", "-f", samples+"bookshop")
	b.Must("", "apply", "-n", "calls", "-f", samples+"grpc")
	b.apply("calls", unrepeated)
	b.Must("", "patch", "-n", "calls", "deployment", "ratings", "--patch", onBothNodes)
	b.apply("fields", b.replaced(b.file("bookshop/details.yaml"), "replicas: 1", "replicas: 2"))
	b.apply("fields", fieldRoutes)
	b.apply("shop", doors)
	for _, ns := range []string{"shop", "calls", "fields"} {
		b.ready(ns)
	}
	port := b.Must("", "get", "service", "-n", "weft-system", "istio-ingressgateway", "-o", `jsonpath={.spec.ports[?(@.name=="http2")].nodePort}`)
	for n := range b.Nodes() {
		b.doors = append(b.doors, fmt.Sprintf("http://%s:%s", b.Node(n+1).Address(), port))
	}
	for _, host := range []string{"", "reviews.example.com", "details.example.com", "fields.example.com"} {
		b.Eventually("the gateway answers for "+host, func() error {
			for _, l := range b.door(2, request{host: host, path: "/"}) {
				if l.Failed() {
					return fmt.Errorf("%s: %s", l.Status, l.Error)
				}
			}
			return nil
		})
	}
}

// unrepeated: a call of the headless Service that fails shall be seen; the other
// Service has the default retries.
const unrepeated = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http: [{route: [{destination: {host: ratings}}], retries: {attempts: 0}}]
`

// onBothNodes lets no node have two pods of a Deployment more than another.
const onBothNodes = `{"spec": {"template": {"spec": {"topologySpreadConstraints": [{"maxSkew": 1,
"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "ratings"}}}]}}}}`
