package view

import (
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// The pods of a gateway listen where its Service sends: on the target port of
// the port that a server names.
func TestRouterListensOnTargetPort(t *testing.T) {
	front := func(name, namespace string, p model.Port) *model.Service {
		p.Number, p.Protocol = 80, model.ProtocolHTTP
		s := meshtest.Service(name, namespace, "10.0.9.9", p)
		s.Selector = map[string]string{"app": "edge"}
		return s
	}
	proxy := model.Proxy{Namespace: "weft-system", Name: "edge-0", Proven: true, Labels: map[string]string{"istio": "ingressgateway", "app": "edge"}}
	pod := &model.Workload{Namespace: "weft-system", Name: "edge-0", Labels: proxy.Labels, Ports: map[string]uint32{"web": 8081, "other": 9}}
	stranger := front("edge", "weft-system", model.Port{Target: 8080})
	stranger.Selector = map[string]string{"app": "another"}
	for name, c := range map[string]struct {
		services []*model.Service
		want     string
	}{
		"no Service":             {nil, "0.0.0.0_80"},
		"target port":            {[]*model.Service{front("edge", "weft-system", model.Port{Target: 8080})}, "0.0.0.0_8080"},
		"the port itself":        {[]*model.Service{front("edge", "weft-system", model.Port{})}, "0.0.0.0_80"},
		"named port":             {[]*model.Service{front("edge", "weft-system", model.Port{TargetName: "web"})}, "0.0.0.0_8081"},
		"named port that is not": {[]*model.Service{front("edge", "weft-system", model.Port{TargetName: "nosuch"})}, "0.0.0.0_80"},
		"another namespace":      {[]*model.Service{front("edge", "default", model.Port{Target: 8080})}, "0.0.0.0_80"},
		"another's pods":         {[]*model.Service{stranger}, "0.0.0.0_80"},
		"the first of two":       {[]*model.Service{front("edge", "weft-system", model.Port{Target: 8080}), front("zzz", "weft-system", model.Port{Target: 9090})}, "0.0.0.0_8080"},
	} {
		t.Run(name, func(t *testing.T) {
			m := meshtest.New().Gateway(gateway("web", server("http", 80, "*"))).Workload(pod).Service(c.services...).Model()
			v := Of(m, Classes(m, proxy)[0])
			var got []string
			for name, l := range v.Listeners.All() {
				got = append(got, name)
				if l.Name != listenerName(l.Address, l.Port) {
					t.Errorf("listener %s listens on %d", name, l.Port)
				}
			}
			if !slices.Equal(got, []string{c.want}) {
				t.Errorf("listeners %v, want %s", got, c.want)
			}
			if _, ok := v.Tables.Get("http.80"); !ok {
				t.Errorf("the route table is named by the server's port, but there are %v", v.Tables)
			}
		})
	}
}

// A Service that comes later moves the listener, and touches nothing else.
func TestRouterFollowsItsService(t *testing.T) {
	m := meshtest.New().Gateway(gateway("web", server("http", 80, "*")))
	s := meshtest.Service("edge", "weft-system", "10.0.9.9", model.Port{Number: 80, Protocol: model.ProtocolHTTP, Target: 8080})
	s.Selector = map[string]string{"istio": "ingressgateway"}
	viewer := New(meshtest.Router)
	before := viewer.View(m.Model())
	after := viewer.View(m.Service(s).Model())
	if _, ok := after.Listeners.Get("0.0.0.0_8080"); !ok || after.Listeners.Len() != 1 || !before.Hosts.Equal(after.Hosts) {
		t.Errorf("listeners %v, hosts %v -> %v", after.Listeners, before.Hosts, after.Hosts)
	}
}
