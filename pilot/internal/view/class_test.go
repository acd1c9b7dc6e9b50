package view

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

func TestClasses(t *testing.T) {
	labels := map[string]string{"app": "reviews", "version": "v1", "team": "a", "pod-template-hash": "x"}
	m := meshtest.Bookshop()
	named := meshtest.Service("admin", "default", "10.0.0.9", model.Port{Number: 80, TargetName: "http", Protocol: model.ProtocolHTTP})
	m.Service(named)
	m.Workload(&model.Workload{Namespace: "default", Name: "reviews-1", Controller: "reviews", Labels: labels, Ports: map[string]uint32{"http": 8080, "debug": 6060}})
	own := func(name string, s model.ProxySettings) {
		m.Workload(&model.Workload{Namespace: "apart", Name: name, Proxy: &s})
	}
	hops := model.Edge{TrustedProxies: 2}
	own("edge", model.ProxySettings{Edge: hops})
	own("both", model.ProxySettings{Edge: hops, Headers: model.ProxyHeaders{Server: "mine"}})
	mine := model.OwnProxy{Said: true, ProxySettings: model.ProxySettings{Headers: model.ProxyHeaders{Server: "mine"}}}
	vs := meshtest.Routing("by-team", "other", "a.example", &model.Route{Scope: model.Scope{SourceLabels: map[string]string{"team": "a"}}})
	for name, tc := range map[string]struct {
		proxy model.Proxy
		mesh  *model.Mesh
		want  []model.ProxyClass
	}{
		"only labels that something selects on": {
			model.Proxy{Proven: true, Sidecar: true, Namespace: "default", Name: "reviews-1"}, m.Model(),
			[]model.ProxyClass{{Role: model.RoleOutbound, Namespace: "default"}, {Role: model.RoleInbound, Namespace: "default", Labels: "app=reviews", Ports: "http=8080"}},
		},
		"source labels": {
			model.Proxy{Proven: true, Sidecar: true, Namespace: "default", Name: "reviews-1"}, meshCopy(m).VirtualService(vs).Model(),
			[]model.ProxyClass{{Role: model.RoleOutbound, Namespace: "default", Labels: "team=a"}, {Role: model.RoleInbound, Namespace: "default", Labels: "app=reviews", Ports: "http=8080"}},
		},
		"an unknown pod says its labels itself": {
			model.Proxy{Proven: true, Sidecar: true, Namespace: "default", Name: "new", Labels: map[string]string{"app": "db", "x": "y"}}, m.Model(),
			[]model.ProxyClass{{Role: model.RoleOutbound, Namespace: "default"}, {Role: model.RoleInbound, Namespace: "default", Labels: "app=db"}},
		},
		"a selector of another namespace does not count": {
			model.Proxy{Proven: true, Sidecar: true, Namespace: "elsewhere", Labels: labels}, m.Model(),
			[]model.ProxyClass{{Role: model.RoleOutbound, Namespace: "elsewhere"}, {Role: model.RoleInbound, Namespace: "elsewhere"}},
		},
		"self-discovery": {
			model.Proxy{Proven: true, Sidecar: true, Namespace: "default", Name: "reviews-1", Metadata: map[string]string{"ENABLE_SELF_DISCOVERY": "true", "WORKLOAD_NAME": "another"}}, m.Model(),
			[]model.ProxyClass{
				{Role: model.RoleOutbound, Namespace: "default", SelfDiscovery: true},
				{Role: model.RoleInbound, Namespace: "default", Labels: "app=reviews,pod-template-hash=x", Ports: "http=8080", SelfDiscovery: true, Workload: "reviews"},
			},
		},
		"self-discovery of a router that is no pod": {
			model.Proxy{Proven: true, Namespace: "edge", Locality: model.Locality{Region: "eu"}, Metadata: map[string]string{"ENABLE_SELF_DISCOVERY": "true", "WORKLOAD_NAME": "gw"}}, m.Model(),
			[]model.ProxyClass{{Role: model.RoleRouter, Namespace: "edge", Labels: "topology.kubernetes.io/region=eu", SelfDiscovery: true, Workload: "gw"}},
		},
		"a sidecar's own gatewayTopology": {
			model.Proxy{Proven: true, Sidecar: true, Namespace: "apart", Name: "edge"}, m.Model(),
			[]model.ProxyClass{{Role: model.RoleOutbound, Namespace: "apart"}, {Role: model.RoleInbound, Namespace: "apart"}},
		},
		"a sidecar's own gatewayTopology and proxyHeaders": {
			model.Proxy{Proven: true, Sidecar: true, Namespace: "apart", Name: "both"}, m.Model(),
			[]model.ProxyClass{{Role: model.RoleOutbound, Namespace: "apart", Proxy: mine}, {Role: model.RoleInbound, Namespace: "apart", Proxy: mine}},
		},
		"a router's own gatewayTopology": {
			model.Proxy{Proven: true, Namespace: "apart", Name: "edge"}, m.Model(),
			[]model.ProxyClass{{Role: model.RoleRouter, Namespace: "apart", Proxy: model.OwnProxy{Said: true, ProxySettings: model.ProxySettings{Edge: hops}}}},
		},
		"a router": {
			model.Proxy{Proven: true, Namespace: "weft-system", Labels: map[string]string{"istio": "ingressgateway", "app": "gw"}}, m.Model(),
			[]model.ProxyClass{{Role: model.RoleRouter, Namespace: "weft-system", Labels: "istio=ingressgateway"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Classes(tc.mesh, tc.proxy)); diff != "" {
				t.Errorf("classes (-want +got):\n%s", diff)
			}
		})
	}
}

func meshCopy(m *meshtest.Mesh) *meshtest.Mesh { c := *m; return &c }

func TestClassifierTellsWhenClassesMayDiffer(t *testing.T) {
	m, c := meshtest.Bookshop(), NewClassifier()
	steps := []struct {
		what string
		edit func()
		want bool
	}{
		{"the first mesh", func() {}, true},
		{"a weight", func() {
			host := meshtest.Host("reviews", "default")
			m.VirtualService(meshtest.Routing("reviews", "default", host, meshtest.To(host, "v1", 1)))
		}, false},
		{"a new key", func() {
			m.PeerAuth(&model.PeerAuth{Namespace: "default", Name: "p", Selector: map[string]string{"tier": "db"}})
		}, true},
		{"the key again", func() {
			m.PeerAuth(&model.PeerAuth{Namespace: "default", Name: "q", Selector: map[string]string{"tier": "web"}})
		}, false},
		{"a pod", func() { m.Workload(&model.Workload{Namespace: "default", Name: "p"}) }, true},
	}
	for _, s := range steps {
		s.edit()
		if got := c.Update(m.Model()); got != s.want {
			t.Errorf("%s: %v", s.what, got)
		}
	}
}

// A proxy that proved no identity has no certificate: clusters whose endpoints
// all speak plaintext ask it for none, others still do.
func TestBareProxiesNeedNoCertificateForPlaintext(t *testing.T) {
	mesh := meshtest.Bookshop().Model()
	plain := *mesh
	for host, e := range mesh.Endpoints.All() {
		plain.Endpoints = plain.Endpoints.With(host, withoutMTLS(e))
	}
	for _, c := range []struct {
		what string
		mesh *model.Mesh
		bare bool
		want bool
	}{
		{"bare, sidecars", mesh, true, false}, {"bare, plaintext", &plain, true, true},
		{"proven, plaintext", &plain, false, false}, {"proven, sidecars", mesh, false, false},
	} {
		class := meshtest.Outbound
		class.Bare = c.bare
		for name, cluster := range Of(c.mesh, class).Clusters.All() {
			if _, has := c.mesh.Endpoints.Get(cluster.Service.Host); has && cluster.Plain != c.want {
				t.Errorf("%s: cluster %s: plain is %v", c.what, name, cluster.Plain)
			}
		}
	}
}

func withoutMTLS(e *model.Endpoints) *model.Endpoints {
	out := &model.Endpoints{Host: e.Host, Identities: e.Identities}
	for _, p := range e.Ports {
		q := model.PortEndpoints{Port: p.Port}
		for _, ep := range p.Endpoints {
			c := *ep
			c.MTLS = false
			q.Endpoints = append(q.Endpoints, &c)
		}
		out.Ports = append(out.Ports, q)
	}
	return out
}
