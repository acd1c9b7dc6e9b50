package compile

import (
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
)

func prefix(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: s}}
}

func exact(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: s}}
}

func pattern(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: s}}
}

// TestMergeMatches is Istio's table of which delegate lies within its root.
// Source: istio.io/api networking/v1alpha3, HTTPRoute.delegate ("must be a
// strict subset of the root's"), and Istio's TestHasConflict.
func TestMergeMatches(t *testing.T) {
	uri := func(m *networking.StringMatch) *networking.HTTPMatchRequest {
		return &networking.HTTPMatchRequest{Uri: m}
	}
	header := func(m *networking.StringMatch) *networking.HTTPMatchRequest {
		return &networking.HTTPMatchRequest{Headers: map[string]*networking.StringMatch{"h": m}}
	}
	for _, tc := range []struct {
		name       string
		root, leaf *networking.HTTPMatchRequest
		conflict   string // a part of it; "" for none
	}{
		{"prefix within prefix", uri(prefix("/a")), uri(prefix("/a/b")), ""},
		{"the same prefix", uri(prefix("/a")), uri(prefix("/a")), ""},
		{"a wider prefix", uri(prefix("/a/b")), uri(prefix("/a")), "uri"},
		{"exact within prefix", uri(prefix("/a")), uri(exact("/a/b")), ""},
		{"exact beyond prefix", uri(prefix("/a/b")), uri(exact("/a")), "uri"},
		{"prefix beyond exact", uri(exact("/a")), uri(prefix("/a")), "uri"},
		{"the same exact", uri(exact("/a")), uri(exact("/a")), ""},
		{"another exact", uri(exact("/a")), uri(exact("/b")), "uri"},
		{"regex in the root", uri(pattern("/a.*")), uri(exact("/a")), "uri"},
		{"regex in the delegate", uri(prefix("/a")), uri(pattern("/a.*")), "uri"},
		{"regex in both", uri(pattern("/a.*")), uri(pattern("/a.*")), "uri"},
		{"nothing in the root", &networking.HTTPMatchRequest{}, uri(pattern("/a.*")), ""},
		{"nothing in the delegate", uri(pattern("/a.*")), &networking.HTTPMatchRequest{}, ""},
		{"header", header(prefix("a")), header(exact("ab")), ""},
		{"another header value", header(exact("a")), header(exact("b")), `header "h"`},
		{"method", &networking.HTTPMatchRequest{Method: exact("GET")}, &networking.HTTPMatchRequest{Method: exact("POST")}, "method"},
		{"case", &networking.HTTPMatchRequest{IgnoreUriCase: true}, &networking.HTTPMatchRequest{}, "ignoreUriCase"},
		{"port", &networking.HTTPMatchRequest{Port: 80}, &networking.HTTPMatchRequest{Port: 81}, "port"},
		{"port of the root", &networking.HTTPMatchRequest{Port: 80}, &networking.HTTPMatchRequest{}, ""},
		{"labels", &networking.HTTPMatchRequest{SourceLabels: map[string]string{"a": "1"}}, &networking.HTTPMatchRequest{SourceLabels: map[string]string{"b": "2"}}, ""},
		{"other labels", &networking.HTTPMatchRequest{SourceLabels: map[string]string{"a": "1"}}, &networking.HTTPMatchRequest{SourceLabels: map[string]string{"a": "2"}}, "sourceLabels"},
		{"a namespace must be repeated", &networking.HTTPMatchRequest{SourceNamespace: "n"}, &networking.HTTPMatchRequest{}, "sourceNamespace"},
		{"gateways", &networking.HTTPMatchRequest{Gateways: []string{"a/g", "mesh"}}, &networking.HTTPMatchRequest{Gateways: []string{"mesh"}}, ""},
		{"more gateways", &networking.HTTPMatchRequest{Gateways: []string{"mesh"}}, &networking.HTTPMatchRequest{Gateways: []string{"a/g", "mesh"}}, "gateways"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, conflict := mergeMatches([]*networking.HTTPMatchRequest{tc.root}, []*networking.HTTPMatchRequest{tc.leaf})
			if (conflict == "") != (tc.conflict == "") || !strings.Contains(conflict, tc.conflict) || (conflict == "") != (len(got) == 1) {
				t.Errorf("got %v, conflict %q, want %q", got, conflict, tc.conflict)
			}
		})
	}
}

// TestDelegateIncremental: the edit of a delegate compiles its roots again, and
// gives what compiling from nothing gives.
func TestDelegateIncremental(t *testing.T) {
	route := func(host string) *networking.HTTPRoute {
		return &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: host}}}}
	}
	root := object(config.VirtualService, "ns0", "root", &networking.VirtualService{Hosts: []string{"svc1"}, Http: []*networking.HTTPRoute{
		{Match: []*networking.HTTPMatchRequest{{Uri: prefix("/x")}}, Delegate: &networking.Delegate{Name: "team", Namespace: "ns1"}}, route("svc1"),
	}})
	team := func(host string) *config.Object {
		return object(config.VirtualService, "ns1", "team", &networking.VirtualService{Http: []*networking.HTTPRoute{route(host)}})
	}
	c, set := New(), newWorld(20).With(root)
	before, _ := c.Mesh(set).Mesh.VirtualServices.Get("ns0/svc0")
	for _, step := range []struct {
		set  config.Set
		want string
	}{
		{set, nowhere + "|"},
		{set.With(team("svc11")), "svc11.ns1.svc.cluster.local|"},
		{set.With(team("svc12")), "svc12.ns1.svc.cluster.local|"},
		{set, nowhere + "|"},
	} {
		m := c.Mesh(step.set).Mesh
		vs, _ := m.VirtualServices.Get("ns0/root")
		if got := destinationsOf(vs.HTTP[:1]); got != step.want {
			t.Errorf("the route leads to %q, want %q", got, step.want)
		}
		if fresh, _ := Mesh(step.set).Mesh.VirtualServices.Get("ns0/root"); !equal(fresh, vs) {
			t.Errorf("not what compiling from nothing gives: %+v", fresh)
		}
		if after, _ := m.VirtualServices.Get("ns0/svc0"); after != before {
			t.Error("another VirtualService was compiled again")
		}
		if vs.HTTP[0].Match.Path == nil || vs.HTTP[0].Match.Path.Value != "/x" {
			t.Errorf("the root's match is lost: %+v", vs.HTTP[0].Match)
		}
	}
	if slices.ContainsFunc(slices.Collect(keysOfServices(c)), func(k string) bool { return k == "ns1/team" }) {
		t.Error("a delegate takes requests of its own")
	}
}

func keysOfServices(c *Compiler) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range c.last.Mesh.VirtualServices.All() {
			if !yield(k) {
				return
			}
		}
	}
}

// TestDelegateInherits: what a delegate does not set is the root's, what it
// sets is its own. Source: Istio's mergeHTTPRoute.
func TestDelegateInherits(t *testing.T) {
	root := &networking.HTTPRoute{
		Name: "r", Rewrite: &networking.HTTPRewrite{Uri: "/r"}, Retries: &networking.HTTPRetry{Attempts: 5},
		CorsPolicy: &networking.CorsPolicy{AllowMethods: []string{"GET"}}, Mirror: &networking.Destination{Host: "m"},
	}
	got, conflict := mergeRoute(root, &networking.HTTPRoute{Name: "l", Rewrite: &networking.HTTPRewrite{Uri: "/l"}})
	if conflict != "" || got.GetName() != "r-l" || got.GetRewrite().GetUri() != "/l" || got.GetRetries().GetAttempts() != 5 ||
		got.GetCorsPolicy() == nil || got.GetMirror().GetHost() != "m" {
		t.Errorf("got %v (%s)", got, conflict)
	}
	if out, _ := mergeRoute(root, nil); out != nil {
		t.Errorf("an empty route merged to %v", out)
	}
}
