package compile

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/config"
)

func toService() []*networking.HTTPRouteDestination {
	return []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "svc1"}}}
}

// TestLargeObjects: 10,000 routes or 1,000 hosts in one object are all there,
// at a cost that follows their number. Each host has all routes, so that both at
// once would be more than a proxy or the pilot can hold: that is a finding.
func TestLargeObjects(t *testing.T) {
	for _, tc := range []struct{ hosts, routes, findings int }{{20, 10_000, 0}, {1000, 200, 0}, {1000, 10_000, 1}} {
		spec := &networking.VirtualService{}
		for i := range tc.hosts {
			spec.Hosts = append(spec.Hosts, fmt.Sprintf("h%d.example.com", i))
		}
		for i := range tc.routes {
			match := &networking.HTTPMatchRequest{Headers: map[string]*networking.StringMatch{"x-flag": exact(fmt.Sprint(i))}}
			spec.Http = append(spec.Http, &networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{match}, Route: toService()})
		}
		r := Mesh(newWorld(20).With(object(config.VirtualService, "ns0", "large", spec)))
		vs, _ := r.Mesh.VirtualServices.Get("ns0/large")
		f, _ := r.Findings.Get("VirtualService/ns0/large")
		switch {
		case tc.findings == 0 && (vs == nil || len(vs.Hosts) != tc.hosts || len(vs.HTTP) != tc.routes || f != nil):
			t.Errorf("%+v: findings %v", tc, list(r))
		case tc.findings > 0 && (vs != nil || f == nil || len(f.List) != tc.findings || f.List[0].Code != "WEFT0210"):
			t.Errorf("%+v: findings %v", tc, list(r))
		}
		checkSound(t, r.Mesh)
	}
}

// TestHosts: what a host may look like.
// Source: istio.io/api networking/v1alpha3, VirtualService.hosts; RFC 1123.
func TestHosts(t *testing.T) {
	for host, want := range map[string]string{ // "" is a finding at spec.hosts[0]
		"Shop.Example.COM":             "shop.example.com",
		"*.example.com":                "*.example.com",
		"shop.example.com.":            "shop.example.com",
		"shop.example.com:80":          "",
		"münchen.example":              "",
		"xn--mnchen-3ya.example":       "xn--mnchen-3ya.example",
		"shop..example":                "",
		"a.*.example":                  "",
		"10.0.0.1":                     "10.0.0.1",
		"shop.example.com\nx":          "",
		strings.Repeat("a", 64) + ".x": "",
		strings.Repeat("a.", 200):      "",
		"":                             "",
	} {
		o := object(config.VirtualService, "ns0", "h", &networking.VirtualService{Hosts: []string{host}, Http: []*networking.HTTPRoute{{Route: toService()}}})
		r := Mesh(newWorld(20).With(o))
		vs, _ := r.Mesh.VirtualServices.Get("ns0/h")
		f, _ := r.Findings.Get("VirtualService/ns0/h")
		switch {
		case want == "" && (vs != nil || f == nil || f.List[0].Path != "spec.hosts[0]"):
			t.Errorf("%q: got %+v, findings %v", host, vs, list(r))
		case want != "" && (vs == nil || vs.Hosts[0] != want):
			t.Errorf("%q: got %+v, want %q, findings %v", host, vs, want, list(r))
		}
	}
}

// TestNumbersAtTheirLimits: each number of a route below, at and beyond its
// limits is in force or a finding, and nothing that Envoy refuses is made.
func TestNumbersAtTheirLimits(t *testing.T) {
	for name, tc := range map[string]struct {
		route *networking.HTTPRoute
		bad   bool
	}{
		"port 65535":             {&networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{{Port: 65535}}}, false},
		"port 65536":             {&networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{{Port: 65536}}}, true},
		"port of all bits":       {&networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{{Port: math.MaxUint32}}}, true},
		"an empty match":         {&networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{{}}}, false},
		"a null match":           {&networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{nil}}, false},
		"attempts":               {&networking.HTTPRoute{Retries: &networking.HTTPRetry{Attempts: math.MaxInt32}}, false},
		"attempts below 0":       {&networking.HTTPRoute{Retries: &networking.HTTPRetry{Attempts: math.MinInt32}}, true},
		"the longest timeout":    {&networking.HTTPRoute{Timeout: durationpb.New(maxDuration)}, false},
		"a longer timeout":       {&networking.HTTPRoute{Timeout: durationpb.New(maxDuration + 1)}, true},
		"a header of 16 kB":      {setting(strings.Repeat("v", maxHeader)), false},
		"a longer header":        {setting(strings.Repeat("v", maxHeader+1)), true},
		"a timeout below 1 ms":   {&networking.HTTPRoute{Timeout: durationpb.New(1)}, true},
		"nanoseconds out of one": {&networking.HTTPRoute{Timeout: &durationpb.Duration{Nanos: math.MaxInt32}}, true},
		"a regex that explodes":  {&networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{{Uri: pattern("(((a{100}){100}){100}){100}")}}}, true},
		"a long prefix":          {&networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{{Uri: prefix("/" + strings.Repeat("a", 1<<16))}}}, false},
		"one header twice":       {&networking.HTTPRoute{Headers: &networking.Headers{Request: &networking.Headers_HeaderOperations{Set: map[string]string{"x-a": "1", "X-A": "2"}}}}, true},
		"the host twice":         {&networking.HTTPRoute{Headers: &networking.Headers{Request: &networking.Headers_HeaderOperations{Set: map[string]string{"host": "a", "Host": "b"}}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			tc.route.Route = toService()
			o := object(config.VirtualService, "ns0", "n", &networking.VirtualService{Hosts: []string{"svc2"}, Http: []*networking.HTTPRoute{tc.route, {Route: toService()}}})
			r := Mesh(newWorld(20).With(o))
			f, _ := r.Findings.Get("VirtualService/ns0/n")
			if bad := f != nil && f.List[0].Severity == 0; bad != tc.bad {
				t.Errorf("findings: %v", list(r))
			}
			checkSound(t, r.Mesh)
		})
	}
}

// setting is a route that sets a header.
func setting(value string) *networking.HTTPRoute {
	return &networking.HTTPRoute{Headers: &networking.Headers{Response: &networking.Headers_HeaderOperations{Set: map[string]string{"x-a": value}}}}
}

// TestRulesThatRandomObjectsFound: what Envoy's rules refuse of a cluster is
// found in the DestinationRule.
func TestRulesThatRandomObjectsFound(t *testing.T) {
	tls := func(mode networking.ClientTLSSettings_TLSmode) *networking.TrafficPolicy {
		return &networking.TrafficPolicy{Tls: &networking.ClientTLSSettings{Mode: mode, InsecureSkipVerify: wrapperspb.Bool(true), CaCertificates: "/ca.pem"}}
	}
	for name, tc := range map[string]struct {
		rule *networking.DestinationRule
		path string // of the error
	}{
		"a subset's name of 64 characters":     {&networking.DestinationRule{Subsets: []*networking.Subset{{Name: strings.Repeat("s", 64)}}}, "spec.subsets[0].name"},
		"MUTUAL that checks nobody, no client": {&networking.DestinationRule{TrafficPolicy: tls(networking.ClientTLSSettings_MUTUAL)}, "spec.trafficPolicy.tls"},
	} {
		tc.rule.Host = "svc2"
		r := Mesh(newWorld(20).With(object(config.DestinationRule, "ns0", "n", tc.rule)))
		f, _ := r.Findings.Get("DestinationRule/ns0/n")
		if f == nil || !slices.ContainsFunc(f.List, func(d diagnostic) bool { return d.Path == tc.path && d.Severity == 0 }) {
			t.Errorf("%s: findings %v", name, list(r))
		}
	}
}

// TestEndpointWeightsAddUp: weights at the limit of their type do not wrap
// around when those of a locality are added.
func TestEndpointWeightsAddUp(t *testing.T) {
	entry := &networking.ServiceEntry{
		Hosts: []string{"a.example.com"}, Resolution: networking.ServiceEntry_STATIC, Ports: []*networking.ServicePort{{Number: 80, Name: "http", Protocol: "HTTP"}},
		Endpoints: []*networking.WorkloadEntry{{Address: "192.0.2.1"}, {Address: "192.0.2.2", Weight: math.MaxUint32}},
	}
	r := Mesh(newWorld(20).With(object(config.ServiceEntry, "ns0", "n", entry)))
	f, _ := r.Findings.Get("ServiceEntry/ns0/n")
	if f == nil || !slices.ContainsFunc(f.List, func(d diagnostic) bool { return d.Path == "spec.endpoints[1].weight" && d.Severity == 0 }) {
		t.Fatalf("findings %v", list(r))
	}
	total := uint32(0)
	for _, e := range r.Mesh.Endpoints.All() {
		for _, port := range e.Ports {
			for _, ep := range port.Endpoints {
				if ep.Weight > 1 {
					total += ep.Weight
				}
			}
		}
	}
	if total != maxEndpointWeight {
		t.Errorf("the weights are %d together", total)
	}
}

// TestNamesInACircle: ExternalNames that lead to one another stand for nothing,
// and the search for their end ends.
func TestNamesInACircle(t *testing.T) {
	set := newWorld(20)
	for name, to := range map[string]string{"a": "b", "b": "c", "c": "a", "self": "self"} {
		set = set.With(object(config.Service, "ns0", name, &core.Service{
			ObjectMeta: meta.ObjectMeta{Namespace: "ns0", Name: name},
			Spec:       core.ServiceSpec{Type: core.ServiceTypeExternalName, ExternalName: to + ".ns0.svc.cluster.local", Ports: []core.ServicePort{{Name: "http", Port: 80}}},
		}))
	}
	r := Mesh(set)
	checkSound(t, r.Mesh)
	for _, name := range []string{"a", "b", "c", "self"} {
		if s, ok := r.Mesh.Services.Get(name + ".ns0.svc.cluster.local"); !ok || s.AliasOf != "" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
