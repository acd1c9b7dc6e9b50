package pilot_test

import (
	"testing"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/golden"
)

// Weight and locality of an endpoint are the balancer's: Envoy is told of them.
// Source: istio.io/api networking/v1alpha3, WorkloadEntry.
func TestWorkloadEntryStands(t *testing.T) {
	f, err := golden.Load("testdata/entry-weights.txtar")
	if err != nil {
		t.Fatal(err)
	}
	b := behaviour{File: f}
	set, _ := b.set(t, "config.yaml")
	p, _ := b.proxy(t)
	all := &endpoint.ClusterLoadAssignment{}
	for _, r := range pilot.Translate(set, p) {
		if r.Name == "outbound|80||vm.example.com" && r.Type == "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment" {
			if err := proto.Unmarshal(r.Body, all); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := map[string]uint32{}
	for _, l := range all.GetEndpoints() {
		for _, ep := range l.GetLbEndpoints() {
			where := l.GetLocality().GetRegion() + "/" + l.GetLocality().GetZone() + "/" + l.GetLocality().GetSubZone()
			found[where+" "+ep.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()] = ep.GetLoadBalancingWeight().GetValue()
		}
	}
	if len(found) != 2 || found["eu/west/rack 10.9.0.1"] != 3 || found["eu/east/ 10.9.0.2"] != 1 {
		t.Errorf("got %v", found)
	}
}
