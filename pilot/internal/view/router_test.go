package view

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

func server(name string, port uint32, hosts ...string) model.Server {
	s := model.Server{Name: name, Port: port, Protocol: model.ProtocolHTTP, RouteTable: "http." + tableName(port)}
	for _, h := range hosts {
		ns, host, ok := strings.Cut(h, "/")
		if !ok {
			ns, host = "*", h
		}
		s.Hosts = append(s.Hosts, model.ServerHost{Namespace: ns, Host: host})
	}
	return s
}

func secured(s model.Server, gateway, credential string) model.Server {
	s.Protocol, s.HTTPS = model.ProtocolTLS, true
	s.RouteTable = "https." + tableName(s.Port) + "." + s.Name + "." + gateway + ".default"
	s.TLS = &model.ServerTLS{Mode: model.ServerSimple, Credentials: []string{"default/" + credential}}
	return s
}

func gateway(name string, servers ...model.Server) *model.Gateway {
	return &model.Gateway{Namespace: "default", Name: name, Rank: name, Selector: map[string]string{"istio": "ingressgateway"}, Servers: servers}
}

// routing is a VirtualService whose routes are named after it.
func routing(ns, name, gw string, hosts ...string) *model.VirtualService {
	to := meshtest.Host("reviews", "default")
	match := meshtest.To(to, "", 1)
	match.Name, match.Match.Path = name+"-match", &model.StringMatch{Kind: model.MatchPrefix, Value: "/" + name}
	all := meshtest.To(to, "", 1)
	all.Name = name + "-all"
	vs := meshtest.Routing(name, ns, hosts[0], match, all)
	vs.Rank, vs.Hosts, vs.Gateways = name, hosts, []string{"default/" + gw}
	return vs
}

// summary lists "TABLE/NAME: routes" of the virtual hosts.
func summary(v *model.View) []string {
	var out []string
	for key, h := range v.Hosts.All() {
		line := key + ":"
		if h.RequireHTTPS {
			line += " https"
		}
		for _, r := range h.Routes {
			line += " " + r.Name
		}
		out = append(out, line)
	}
	return out
}

func TestRouterHosts(t *testing.T) {
	redirecting := server("http", 80, "a.example")
	redirecting.TLS = &model.ServerTLS{HTTPSRedirect: true}
	own := routing("other", "own", "web", "a.example")
	private := routing("other", "private", "web", "a.example")
	private.ExportTo = model.Visibility{Restricted: true, Private: true}
	for name, tc := range map[string]struct {
		gateways []*model.Gateway
		services []*model.VirtualService
		want     []string
	}{
		"host of a wildcard server": {
			[]*model.Gateway{gateway("web", server("http", 80, "*.example"))}, []*model.VirtualService{routing("default", "v", "web", "a.example", "a.test")},
			[]string{"http.80/*: fallback", "http.80/a.example:80: v-match v-all"},
		},
		"wildcard of a narrower server": {
			[]*model.Gateway{gateway("web", server("http", 80, "a.example"))}, []*model.VirtualService{routing("default", "v", "web", "*")},
			[]string{"http.80/*: fallback", "http.80/a.example:80: v-match v-all"},
		},
		"all hosts": {
			[]*model.Gateway{gateway("web", server("http", 80, "*"))}, []*model.VirtualService{routing("default", "v", "web", "*")},
			[]string{"http.80/*: v-match v-all"},
		},
		"several of one host, catch-alls last": {
			[]*model.Gateway{gateway("web", server("http", 80, "*"))},
			[]*model.VirtualService{routing("default", "v", "web", "a.example"), routing("other", "w", "web", "a.example")},
			[]string{"http.80/*: fallback", "http.80/a.example:80: v-match w-match v-all w-all"},
		},
		"a server's namespaces": {
			[]*model.Gateway{gateway("web", server("http", 80, "default/a.example"))}, []*model.VirtualService{routing("default", "v", "web", "a.example"), own},
			[]string{"http.80/*: fallback", "http.80/a.example:80: v-match v-all"},
		},
		"exportTo": {
			[]*model.Gateway{gateway("web", server("http", 80, "*"))}, []*model.VirtualService{private}, []string{"http.80/*: fallback"},
		},
		"another gateway": {
			[]*model.Gateway{gateway("web", server("http", 80, "*"))}, []*model.VirtualService{routing("default", "v", "else", "a.example")}, []string{"http.80/*: fallback"},
		},
		"two gateways of one port": {
			[]*model.Gateway{gateway("web", server("http", 80, "a.example")), gateway("api", server("http", 80, "b.example"))},
			[]*model.VirtualService{routing("default", "v", "web", "*"), routing("default", "w", "api", "b.example")},
			[]string{"http.80/*: fallback", "http.80/a.example:80: v-match v-all", "http.80/b.example:80: w-match w-all"},
		},
		"redirect to https": {
			[]*model.Gateway{gateway("web", redirecting)}, nil, []string{"http.80/*: fallback", "http.80/a.example:80: https"},
		},
		"redirect of a host with routes": {
			[]*model.Gateway{gateway("web", redirecting)}, []*model.VirtualService{routing("default", "v", "web", "a.example")},
			[]string{"http.80/*: fallback", "http.80/a.example:80: https v-match v-all"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := meshtest.Bookshop().Remove("default", "web").Remove("default", "front").Gateway(tc.gateways...).VirtualService(tc.services...)
			v := Of(m.Model(), meshtest.Router)
			if diff := cmp.Diff(tc.want, summary(v)); diff != "" {
				t.Errorf("virtual hosts (-want +got):\n%s", diff)
			}
			if n := v.Clusters.Len(); n > 1 || (n == 1) != (len(tc.services) > 0 && strings.Contains(strings.Join(tc.want, ""), "-all")) {
				t.Errorf("%d clusters: only those that a route names", n)
			}
			checkReferences(t, v)
		})
	}
}

func TestRouterTLS(t *testing.T) {
	m := meshtest.Bookshop().Remove("default", "web").Remove("default", "front")
	m.Gateway(
		gateway("a", secured(server("https", 443, "a.example", "b.example"), "a", "a-tls")),
		gateway("b", secured(server("https", 443, "b.example", "c.example"), "b", "b-tls"), server("plain", 443, "d.example")),
		gateway("c", secured(server("https", 443, "c.example"), "c", "c-tls")),
	)
	m.Secret(&model.Secret{Namespace: "weft-system", Name: "a-tls", Cert: []byte("c"), Key: []byte("k")})
	m.Secret(&model.Secret{Namespace: "default", Name: "b-tls", Cert: []byte("c"), Key: []byte("k")})
	v := Of(m.Model(), meshtest.Router)
	l, ok := v.Listeners.Get("0.0.0.0_443")
	if !ok || v.Listeners.Len() != 1 {
		t.Fatalf("listeners: %v", v.Listeners)
	}
	var got []string
	for _, c := range l.Chains {
		got = append(got, strings.Join(c.SNI, ",")+" "+strings.Join(c.TLS.Credentials, "+")+" "+c.HTTP.Table)
	}
	want := []string{
		"a.example,b.example weft-system/a-tls https.443.https.a.default",
		"c.example weft-system/b-tls https.443.https.b.default",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("chains (-want +got):\n%s", diff)
	}
	if keys := slices.Sorted(keysOf(v)); !slices.Equal(keys, []string{"weft-system/a-tls"}) {
		t.Errorf("secrets %v: only those of the proxy's own namespace", keys)
	}
}

func keysOf(v *model.View) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range v.Secrets.All() {
			if !yield(k) {
				return
			}
		}
	}
}
