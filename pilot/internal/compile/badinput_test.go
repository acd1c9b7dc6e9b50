package compile

import (
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
)

// TestBadInput is the table of what users get wrong: each is reported at its
// field path, the route answers as said, and the rest of the object and of the
// mesh stays live.
func TestBadInput(t *testing.T) {
	to := func(host, subset string, weight int32) *networking.HTTPRouteDestination {
		return &networking.HTTPRouteDestination{Destination: &networking.Destination{Host: host, Subset: subset}, Weight: weight}
	}
	fault := func(percent float64) *networking.HTTPFaultInjection {
		return &networking.HTTPFaultInjection{Delay: &networking.HTTPFaultInjection_Delay{
			HttpDelayType: &networking.HTTPFaultInjection_Delay_FixedDelay{FixedDelay: durationpb.New(1e9)}, Percentage: &networking.Percent{Value: percent},
		}}
	}
	regex := func(pattern string) []*networking.HTTPMatchRequest {
		return []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: pattern}}}}
	}
	ok := []*networking.HTTPRouteDestination{to("svc0", "", 0)}
	cases := []struct {
		name  string
		route *networking.HTTPRoute
		path  string
		want  string // host|subset of the destinations, "" for no route
	}{
		{"negative weight", &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{to("svc0", "v1", -5), to("svc0", "v2", 1)}}, "spec.http[0].route[0].weight", "svc0|v2"},
		{"all zero", &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{to("svc0", "v1", 0), to("svc0", "v2", 0)}}, "spec.http[0].route", nowhere + "|"},
		{"subset", &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{to("svc0", "v7", 0)}}, "spec.http[0].route[0].destination.subset", "svc0|v7"},
		{"host", &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{to("gone", "", 0)}}, "spec.http[0].route[0].destination.host", "gone|"},
		{"status 600", &networking.HTTPRoute{DirectResponse: &networking.HTTPDirectResponse{Status: 600}}, "spec.http[0].directResponse.status", nowhere + "|"},
		{"percent NaN", &networking.HTTPRoute{Fault: fault(math.NaN()), Route: ok}, "spec.http[0].fault.delay.percentage", "svc0|"},
		{"percent above 100", &networking.HTTPRoute{Fault: fault(100.1), Route: ok}, "spec.http[0].fault.delay.percentage", "svc0|"},
		{"percent below 0", &networking.HTTPRoute{Fault: fault(-1), Route: ok}, "spec.http[0].fault.delay.percentage", "svc0|"},
		{"percent infinite", &networking.HTTPRoute{Fault: fault(math.Inf(1)), Route: ok}, "spec.http[0].fault.delay.percentage", "svc0|"},
		{"regex that does not compile", &networking.HTTPRoute{Match: regex("a("), Route: ok}, "spec.http[0].match[0].uri.regex", ""},
		{"regex over 4 kB", &networking.HTTPRoute{Match: regex(strings.Repeat("a", 4097)), Route: ok}, "spec.http[0].match[0].uri.regex", ""},
		{"route to nothing", &networking.HTTPRoute{}, "spec.http[0]", nowhere + "|"},
		{"empty route", nil, "spec.http[0]", ""},
		{"empty destination", &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{nil}}, "spec.http[0].route[0].destination", nowhere + "|"},
		{"negative timeout", &networking.HTTPRoute{Timeout: durationpb.New(-1), Route: ok}, "spec.http[0].timeout", "svc0|"},
		{"overflowing timeout", &networking.HTTPRoute{Timeout: &durationpb.Duration{Seconds: math.MaxInt64}, Route: ok}, "spec.http[0].timeout", "svc0|"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			good := &networking.HTTPRoute{Name: "good", Route: ok}
			vs := object(config.VirtualService, "ns0", "bad", &networking.VirtualService{Hosts: []string{"svc1", "svc1"}, Http: []*networking.HTTPRoute{tc.route, good}})
			r := Mesh(newWorld(20).With(vs))
			f, _ := r.Findings.Get("VirtualService/ns0/bad")
			if f == nil || !slices.ContainsFunc(f.List, func(d diagnostic) bool { return d.Path == tc.path && d.Cure != "" }) {
				t.Fatalf("no finding at %s: %v", tc.path, list(r))
			}
			if f.List[0].Path != "spec.hosts[1]" || r.Findings.Len() != 1 {
				t.Errorf("findings: %v", list(r))
			}
			compiled, _ := r.Mesh.VirtualServices.Get("ns0/bad")
			checkSound(t, r.Mesh)
			if got := destinationsOf(compiled.HTTP[:len(compiled.HTTP)-1]); got != tc.want {
				t.Errorf("the route leads to %q, want %q", got, tc.want)
			}
			if last := compiled.HTTP[len(compiled.HTTP)-1]; last.Name != "good" || destinationsOf([]*model.Route{last}) != "svc0|" {
				t.Errorf("the good route: %+v", last)
			}
			if other, _ := r.Mesh.VirtualServices.Get("ns0/svc0"); other == nil || len(other.HTTP) != 2 {
				t.Errorf("another object is not live: %+v", other)
			}
		})
	}
}

func destinationsOf(routes []*model.Route) (out string) {
	for _, r := range routes {
		for _, d := range r.Action.(*model.Forward).Destinations {
			out += strings.TrimSuffix(d.Host, ".ns0.svc.cluster.local") + "|" + d.Subset
		}
	}
	return out
}

func TestWeightsThatOverflow(t *testing.T) {
	v := newVirtualService(0, 0)
	routes := v.Spec.(*networking.VirtualService).Http[1].Route
	routes[0].Weight, routes[1].Weight = math.MaxInt32, math.MaxInt32
	routes = append(routes, routes[0], routes[1])
	v.Spec.(*networking.VirtualService).Http[1].Route = routes
	r := Mesh(newWorld(1).With(v))
	vs, _ := r.Mesh.VirtualServices.Get("ns0/svc0")
	if got := destinationsOf(vs.HTTP[1:]); got != nowhere+"|" {
		t.Errorf("got %s, findings %v", got, list(r))
	}
}

// The verdicts are Envoy 1.40's, but for CEL, which is not let through.
func TestHeaderFormats(t *testing.T) {
	good := []string{
		"", "plain", "100%%", "%HOSTNAME%", "%HOSTNAME%x", "%%HOSTNAME%%", "a %REQ(x-a?:path):10% b", "%START_TIME(%Y/%m/%d)%", "%START_TIME%",
		"%DYNAMIC_METADATA(a:b:c)%", "%DYNAMIC_METADATA(a:b):5%", "%%%HOSTNAME%", "%FILTER_STATE(a:PLAIN)%", `%UPSTREAM_METADATA(["a","b"])%`, "%REQ(:path)%",
	}
	bad := []string{
		"%", "50%", "%hostname%", "%REQ(x", "% HOSTNAME%", "%REQ(x-a)", "%NO_SUCH_COMMAND%", "%REQ%", "%REQ()%", "%REQ(a?b?c)%", "%REQ(a b)%", "%REQ(a)(b)%",
		"%PROTOCOL(a)%", "%HOSTNAME:5%", "%REQ(a):b%", "%REQ(a)%%", "%ENVIRONMENT(X):Z%", "%CEL(a)%", "%FILTER_STATE(a:NONSENSE)%",
	}
	for _, s := range append(slices.Clone(good), bad...) {
		d := newList()
		if got := checkFormat(s, "at", d); got != slices.Contains(good, s) {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

// Ports and addresses that Envoy would refuse, or that would take the place of
// the sidecar's own listeners, are left out of a Service; the rest stays.
func TestServiceThatCannotBe(t *testing.T) {
	bad := newService(0, 0, 70000, captureOutbound, captureInbound, 80)
	bad.Spec.(*core.Service).Spec.ClusterIPs = []string{"0.0.0.0", "127.0.0.1", "ff02::1", "ten", "10.9.9.9"}
	bad.Spec.(*core.Service).Spec.Ports = append(bad.Spec.(*core.Service).Spec.Ports, core.ServicePort{Name: "http-81", Port: 81, TargetPort: intstr.FromInt32(-1)})
	r := Mesh(newWorld(2).With(bad))
	f, _ := r.Findings.Get("Service/ns0/svc0")
	var paths []string
	for _, d := range f.List {
		paths = append(paths, d.Path)
	}
	want := []string{
		"spec.clusterIPs[0]", "spec.clusterIPs[1]", "spec.clusterIPs[2]", "spec.clusterIPs[3]",
		"spec.ports[0].port", "spec.ports[1].port", "spec.ports[2].port", "spec.ports[3].port", "spec.ports[5].targetPort",
	}
	if slices.Sort(paths); !slices.Equal(paths, want) {
		t.Errorf("findings %v, want %v", paths, want)
	}
	s, _ := r.Mesh.Services.Get("svc0.ns0.svc.cluster.local")
	if len(s.Ports) != 1 || s.Ports[0].Number != 80 || !slices.Equal(s.Addresses, []string{"10.9.9.9"}) {
		t.Errorf("got %+v", s)
	}
}
