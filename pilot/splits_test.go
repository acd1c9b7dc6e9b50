package pilot

import (
	"reflect"
	"testing"

	"github.com/weftmesh/weft/internal/config"
)

const splitting = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: canary}
spec:
  hosts: [ratings]
  http:
  - match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]
    route: [{destination: {host: ratings, subset: v1}, weight: 90}, {destination: {host: reviews, subset: all}, weight: 10}]
  - route: [{destination: {host: ratings}}]
  - name: last
    match: [{uri: {prefix: /c}}]
    route: [{destination: {host: ratings, subset: gone}}, {destination: {host: example.com}, weight: 100}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec:
  host: ratings
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: every}
spec:
  host: "*.default.svc.cluster.local"
  subsets: [{name: all}]
`

func TestSplits(t *testing.T) {
	set := describedSet(t)
	objects, found := config.Decode("splitting.yaml", []byte(splitting))
	if len(found) > 0 {
		t.Fatal(found)
	}
	for _, o := range objects {
		set = set.With(o)
	}
	ratings := SplitDestination{Host: "ratings.default.svc.cluster.local", Service: "ratings", Namespace: "default", Subset: "v1", Share: 0.9, Workloads: []string{"ratings-v1"}}
	reviews := SplitDestination{Host: "reviews.default.svc.cluster.local", Service: "reviews", Namespace: "default", Subset: "all", Share: 0.1, Workloads: []string{"reviews-v1", "reviews-v2", "reviews-v3"}}
	gone := ratings
	gone.Subset, gone.Share, gone.Workloads = "gone", 0, nil
	want := []Split{
		{"default", "canary", []string{"ratings.default.svc.cluster.local"}, []string{"mesh"}, "http", "1", []SplitDestination{ratings, reviews}},
		{"default", "canary", []string{"ratings.default.svc.cluster.local"}, []string{"mesh"}, "http", "last", []SplitDestination{gone, {Host: "example.com", Service: "example.com", Namespace: "unknown", Share: 1}}},
	}
	if got := Splits(set); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
