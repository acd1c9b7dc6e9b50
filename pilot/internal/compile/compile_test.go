package compile

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// decode reads YAML that must be without a problem of form.
func decode(t testing.TB, text string) (set config.Set) {
	t.Helper()
	objects, found := config.Decode("test.yaml", []byte(text))
	for _, f := range found {
		t.Fatalf("the test's YAML is wrong: %v", f)
	}
	for _, o := range objects {
		set = set.With(o)
	}
	return set
}

// list gives all findings in the order of their objects, as "CODE PATH: MESSAGE".
func list(r Result) (out []string) {
	for _, f := range r.Findings.All() {
		for _, d := range f.List {
			out = append(out, d.Code+" "+d.Path+": "+d.Message)
		}
	}
	return out
}

func clean(t *testing.T, r Result) {
	t.Helper()
	for _, f := range r.Findings.All() {
		for _, d := range f.List {
			t.Errorf("unexpected finding: %v", d)
		}
	}
}

const reviews = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  clusterIP: 10.96.0.7
  selector: {app: reviews}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- addresses: [10.0.0.2]
  conditions: {ready: true}
  targetRef: {kind: Pod, name: reviews-v1-abc-1, namespace: default}
- addresses: [10.0.0.3]
  conditions: {ready: false, serving: true, terminating: true}
- addresses: [10.0.0.4]
  conditions: {ready: false}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}}
---
apiVersion: v1
kind: Pod
metadata:
  name: reviews-v1-abc-1
  labels: {app: reviews, version: v1, pod-template-hash: abc}
  annotations: {sidecar.istio.io/status: "{}"}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: reviews-v1-abc, uid: u, controller: true}]
spec: {serviceAccountName: reviews, nodeName: n1, containers: [{name: c, ports: [{name: web, containerPort: 8080}]}]}
status: {podIP: 10.0.0.2}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
`

const reviewsHost = "reviews.default.svc.cluster.local"

func TestServiceWithEndpoints(t *testing.T) {
	r := Mesh(decode(t, reviews))
	clean(t, r)
	svc, _ := r.Mesh.Services.Get(reviewsHost)
	if svc == nil || svc.Ports[0].Protocol != model.ProtocolHTTP || svc.Ports[0].Target != 8080 || svc.Addresses[0] != "10.96.0.7" {
		t.Fatalf("service: %+v", svc)
	}
	eps, _ := r.Mesh.Endpoints.Get(reviewsHost)
	got := eps.Of(80)
	if len(got) != 2 {
		t.Fatalf("want the ready and the draining endpoint, got %+v", got)
	}
	want := model.Endpoint{
		Address: "10.0.0.2", Port: 8080, MTLS: true, Weight: 1, Locality: model.Locality{Region: "eu", Zone: "eu-1"},
		Identity: "spiffe://cluster.local/ns/default/sa/reviews", Workload: "reviews-v1", Namespace: "default", App: "reviews", Version: "v1", Pod: "reviews-v1-abc-1", Node: "n1",
	}
	have := *got[0]
	have.Labels = nil
	if !equal(have, want) {
		t.Errorf("got %+v, want %+v", have, want)
	}
	if got[1].Address != "10.0.0.3" || got[1].Health != model.Draining {
		t.Errorf("second endpoint: %+v", got[1])
	}
	if len(eps.Identities) != 1 {
		t.Errorf("identities: %v", eps.Identities)
	}
}

func TestVirtualServiceCanary(t *testing.T) {
	r := Mesh(decode(t, reviews+`
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
`))
	clean(t, r)
	vs, _ := r.Mesh.VirtualServices.Get("default/reviews")
	if len(vs.HTTP) != 2 || vs.Hosts[0] != reviewsHost || vs.Gateways[0] != "mesh" {
		t.Fatalf("got %+v", vs)
	}
	f := vs.HTTP[1].Action.(*model.Forward)
	if len(f.Destinations) != 2 || f.Destinations[0].Weight != 90 || f.Retry.Attempts != 2 {
		t.Errorf("got %+v", f)
	}
	if re := vs.HTTP[0].Action.(*model.Redirect); re.Code != 301 || re.Path != "/new" {
		t.Errorf("got %+v", re)
	}
}

func TestMissingDestinationStays(t *testing.T) {
	r := Mesh(decode(t, `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec: {hosts: [gone], http: [{route: [{destination: {host: gone}}]}]}
`))
	vs, _ := r.Mesh.VirtualServices.Get("default/v")
	if d := vs.HTTP[0].Action.(*model.Forward).Destinations; len(d) != 1 || d[0].Host != "gone.default.svc.cluster.local" {
		t.Errorf("got %+v", d)
	}
	if got := list(r); len(got) != 1 || !strings.HasPrefix(got[0], diag.NotFound.Code+" spec.http[0].route[0].destination.host: ") {
		t.Errorf("findings: %q", got)
	}
}

type diagnostic = diag.Diagnostic

func newList() *diag.List {
	return diag.For(diag.Object{Kind: "VirtualService", Namespace: "default", Name: "v"})
}

// A service's port is renamed before its slices are: its endpoints stay. A
// slice's port that belongs to another port of the service is not taken.
func TestRenamedPortKeepsItsEndpoints(t *testing.T) {
	svc, es := newService(0, 80, 81), newSlice(0, 2, true)
	ports := svc.Spec.(*core.Service).Spec.Ports
	ports[0].Name, ports[0].TargetPort = "tcp", intstr.FromInt32(8080)
	ports[1].TargetPort = intstr.FromInt32(8080)
	count := func() (out [2]int) {
		all, _ := Mesh(newWorld(1).With(svc).With(es)).Mesh.Endpoints.Get("svc0.ns0.svc.cluster.local")
		return [2]int{len(all.Of(80)), len(all.Of(81))}
	}
	if got := count(); got != [2]int{2, 2} {
		t.Errorf("old name: got %v endpoints", got)
	}
	es.Spec.(*discovery.EndpointSlice).Ports[0].Name = new("http-81")
	if got := count(); got != [2]int{0, 2} {
		t.Errorf("name of the other port: got %v endpoints", got)
	}
	ports[0].TargetPort = intstr.FromString("web")
	es.Spec.(*discovery.EndpointSlice).Ports[0].Name = new("http-80")
	if got := count(); got != [2]int{0, 2} {
		t.Errorf("named target: got %v endpoints", got)
	}
}
