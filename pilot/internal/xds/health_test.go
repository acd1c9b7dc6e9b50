package xds

import (
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"

	"github.com/weftmesh/weft/internal/model"
)

// places is a directory of workloads.
type places map[string]*model.Workload

// Workload implements Directory.
func (p places) Workload(namespace, name string) *model.Workload { return p[namespace+"/"+name] }

// At implements Directory.
func (p places) At([]string) map[string][]*model.Workload { return nil }

// Classes implements Directory.
func (p places) Classes(model.Proxy) []model.ProxyClass { return nil }

// A process outside is heard on itself: nobody without a certificate is, nor with
// that of another account, nor a pod.
func TestHealthIsHeardOfItself(t *testing.T) {
	var got []Health
	s := NewServer(Options{Health: func(h Health) { got = append(got, h) }})
	s.dir = places{
		"shop/legacy": {Namespace: "shop", Name: "legacy", ServiceAccount: "legacy", Joined: true},
		"shop/pod":    {Namespace: "shop", Name: "pod", ServiceAccount: "legacy"},
	}
	own := model.Proxy{Namespace: "shop", Name: "legacy", ServiceAccount: "legacy", Proven: true}
	well, bad := &discovery.DeltaDiscoveryRequest{}, &discovery.DeltaDiscoveryRequest{ErrorDetail: &status.Status{}}
	unproven, other, pod := own, own, own
	unproven.Proven, other.ServiceAccount, pod.Name = false, "billing", "pod"
	for _, p := range []model.Proxy{unproven, other, pod} {
		s.heard(p, well)
	}
	if len(got) > 0 {
		t.Errorf("heard %v", got)
	}
	s.heard(own, well)
	s.heard(own, bad)
	if len(got) != 2 || got[0] != (Health{Namespace: "shop", Name: "legacy"}) || got[1].Trouble == "" {
		t.Errorf("heard %v", got)
	}
	NewServer(Options{}).heard(own, well) // nobody wants to know
}
