package pilot

import (
	"os"
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/config"
)

const described = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v9}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v9, labels: {version: v9}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  mtls: {mode: STRICT}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ratings}
spec:
  selector: {matchLabels: {app: ratings}}
  mtls: {mode: DISABLE}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ratings}
spec:
  selector: {matchLabels: {app: ratings}}
  jwtRules: [{issuer: example.com, jwks: '{"keys":[{"kty":"EC","crv":"P-256","x":"FqV3IMujFK9nrREePTPiQOGLeQBsM6H7kOUyMCi06p0","y":"QTLPUMvZOBgmCav8JE6S5fwJUmoyiyWZlpi_vpXz91A"}]}'}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ratings}
spec:
  selector: {matchLabels: {app: ratings}}
  rules: [{}]
`

func describedSet(t *testing.T) (set config.Set) {
	t.Helper()
	world, err := os.ReadFile("testdata/world.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{world, []byte(described)} {
		objects, found := config.Decode("described.yaml", text)
		if len(found) > 0 {
			t.Fatal(found)
		}
		for _, o := range objects {
			set = set.With(o)
		}
	}
	return set
}

func TestDescribeService(t *testing.T) {
	d, ok := DescribeService(describedSet(t), "default", "reviews")
	if !ok || d.Host != "reviews.default.svc.cluster.local" || d.Endpoints != 3 || d.MTLSEndpoints != 3 {
		t.Fatalf("got %+v", d)
	}
	want := PortDescription{Name: "http", Number: 9080, Target: "9080", Protocol: "http", Why: "the port's name: http", MTLS: "STRICT", Balancer: "LEAST_REQUEST"}
	if len(d.Ports) != 1 || d.Ports[0] != want {
		t.Errorf("ports %+v, want %+v", d.Ports, want)
	}
	if len(d.Subsets) != 2 || d.Subsets[0].Endpoints != 1 || d.Subsets[1].Endpoints != 0 {
		t.Errorf("subsets %+v", d.Subsets)
	}
	objects := []string{"DestinationRule default/reviews", "PeerAuthentication default/reviews", "Service default/reviews", "VirtualService default/reviews"}
	if !slices.Equal(d.Objects, objects) {
		t.Errorf("objects %q, want %q", d.Objects, objects)
	}
	if len(d.Findings) != 1 || d.Findings[0].Code != "IST0173" {
		t.Errorf("findings %v", d.Findings)
	}
	if _, ok := DescribeService(describedSet(t), "default", "nosuch"); ok {
		t.Error("a service that is not there was described")
	}
}

func TestDescribePod(t *testing.T) {
	d, ok := DescribePod(describedSet(t), "default", "ratings-v1")
	if !ok || !d.Sidecar || d.Identity != "spiffe://cluster.local/ns/default/sa/ratings" {
		t.Fatalf("got %+v", d)
	}
	if len(d.Ports) != 1 || d.Ports[0].MTLS != "DISABLE" || d.Ports[0].Service != "ratings.default.svc.cluster.local" {
		t.Errorf("ports %+v", d.Ports)
	}
	for _, kind := range []string{"PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy"} {
		if !slices.Contains(d.Objects, kind+" default/ratings") || slices.Contains(d.Objects, kind+" default/reviews") {
			t.Errorf("%s: objects %q", kind, d.Objects)
		}
	}
}
