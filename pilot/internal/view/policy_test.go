package view

import (
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// rule is a DestinationRule told by the subset that it defines.
func rule(ns, name, host string) *model.Policy { return meshtest.Rule(name, ns, host, ns+"-"+name) }

func TestEffectiveRule(t *testing.T) {
	reviews := meshtest.Host("reviews", "default")
	private := rule("shop", "private", reviews)
	private.ExportTo = model.Visibility{Restricted: true, Private: true}
	chosen := rule("client", "chosen", reviews)
	chosen.Selector = map[string]string{"app": "web"}
	missed := rule("client", "missed", reviews)
	missed.Selector = map[string]string{"app": "other"}
	for name, tc := range map[string]struct {
		rules []*model.Policy
		want  []string // subsets
	}{
		"the client's namespace first":    {[]*model.Policy{rule("default", "a", reviews), rule("client", "b", reviews), rule("weft-system", "c", reviews)}, []string{"client-b"}},
		"then the service's":              {[]*model.Policy{rule("default", "a", reviews), rule("weft-system", "c", reviews)}, []string{"default-a"}},
		"then the root":                   {[]*model.Policy{rule("weft-system", "c", "*")}, []string{"weft-system-c"}},
		"never another":                   {[]*model.Policy{rule("elsewhere", "c", reviews)}, nil},
		"exact before wildcard":           {[]*model.Policy{rule("default", "a", "*.default.svc.cluster.local"), rule("default", "b", reviews)}, []string{"default-b"}},
		"narrower wildcard first":         {[]*model.Policy{rule("default", "a", "*"), rule("default", "b", "*.default.svc.cluster.local")}, []string{"default-b"}},
		"two of one host are merged":      {[]*model.Policy{rule("default", "a", reviews), rule("default", "b", reviews)}, []string{"default-a", "default-b"}},
		"not exported":                    {[]*model.Policy{private}, nil},
		"one that selects the client":     {[]*model.Policy{rule("client", "b", reviews), chosen}, []string{"client-chosen"}},
		"one that selects another client": {[]*model.Policy{rule("client", "b", reviews), missed}, []string{"client-b"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := meshtest.New().Service(meshtest.Service("reviews", "default", "10.0.0.1", meshtest.Port(80, model.ProtocolHTTP))).Policy(tc.rules...)
			v := Of(m.Model(), model.ProxyClass{Role: model.RoleOutbound, Namespace: "client", Labels: "app=web"})
			var got []string
			for _, c := range v.Clusters.All() {
				if c.Subset != "" {
					got = append(got, c.Subset)
				}
			}
			if !slices.Equal(sorted(got), sorted(tc.want)) {
				t.Errorf("subsets %v, want %v", got, tc.want)
			}
		})
	}
}

func TestTrafficOfPortAndSubset(t *testing.T) {
	lb := func(a model.LBAlgorithm) *model.LoadBalancer { return &model.LoadBalancer{Algorithm: a} }
	pool, outlier := &model.ConnectionPool{MaxConnections: 1}, &model.OutlierDetection{}
	p := meshtest.Rule("r", "default", meshtest.Host("a", "default"), "plain", "own", "port")
	p.Traffic = model.PortTraffic{
		Traffic: model.Traffic{LB: lb(model.LBRandom), Pool: pool},
		Ports:   []model.PortOverride{{Port: 81, Traffic: model.Traffic{Outlier: outlier}}},
	}
	p.Subsets[1].Traffic = model.Traffic{LB: lb(model.LBRoundRobin)}
	p.Subsets[2].Ports = []model.PortOverride{{Port: 81, Traffic: model.Traffic{LB: lb(model.LBHash)}}}
	e := &effective{traffic: p.Traffic, subsets: p.Subsets}
	for _, tc := range []struct {
		port   uint32
		subset string
		want   model.Traffic
	}{
		{80, "", p.Traffic.Traffic},
		{81, "", model.Traffic{Outlier: outlier}},
		{80, "plain", p.Traffic.Traffic},
		{80, "own", model.Traffic{LB: p.Subsets[1].Traffic.LB, Pool: pool}},
		{81, "own", model.Traffic{LB: p.Subsets[1].Traffic.LB, Outlier: outlier}},
		{81, "port", p.Subsets[2].Ports[0].Traffic},
	} {
		if got := e.forPort(tc.port, e.named(tc.subset)); got != tc.want {
			t.Errorf("port %d of subset %q: %+v, want %+v", tc.port, tc.subset, got, tc.want)
		}
	}
}
