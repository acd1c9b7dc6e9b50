package pilot

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/config"
)

const toStrict = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {type: NodePort, selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}, {name: http-admin, port: 81, targetPort: 9090}]}
---
apiVersion: v1
kind: Pod
metadata:
  {name: reviews-1, namespace: shop, labels: {app: reviews, service.istio.io/workload-name: reviews},
   annotations: {sidecar.istio.io/status: "{}", traffic.sidecar.istio.io/excludeInboundPorts: "9090", prometheus.io/scrape: "true", prometheus.io/port: "8080"}}
spec:
  containers:
  - {name: app, image: app, ports: [{name: web, containerPort: 8080}], readinessProbe: {httpGet: {path: /, port: web}}, livenessProbe: {tcpSocket: {port: 15020}}}
  - {name: istio-proxy, image: proxy, readinessProbe: {httpGet: {path: /, port: 15021}}}
status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, annotations: {sidecar.istio.io/status: "{}"}, labels: {app: web, service.istio.io/workload-name: web}}
spec: {containers: [{name: istio-proxy, image: proxy}]}
status: {podIP: 10.1.0.2, podIPs: [{ip: 10.1.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: old-1, namespace: shop, labels: {app: old, service.istio.io/workload-name: old}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.1.0.3, podIPs: [{ip: 10.1.0.3}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: plain, namespace: shop}
spec: {host: reviews, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {7000: {mode: DISABLE}}}
`

func mtlsSet(t *testing.T, set config.Set, text string) config.Set {
	t.Helper()
	objects, found := config.Decode("config.yaml", []byte(text))
	if len(found) > 0 {
		t.Fatal(found)
	}
	for _, o := range objects {
		set = set.With(o)
	}
	return set
}

func told(s MTLSStatus) (out []string) {
	for _, w := range s.Workloads {
		for _, p := range w.Ports {
			out = append(out, strings.Join([]string{w.Name, p.Mode, p.By, p.Then, p.ThenBy, p.Uncaptured}, " "))
		}
		for _, b := range w.Breaks {
			out = append(out, w.Name+" "+b.Kind+": "+b.What)
		}
		for _, b := range w.Refused {
			out = append(out, w.Name+" refused: "+b.What)
		}
	}
	return out
}

// What STRICT for all would break: of what was seen, and of what objects say.
// Source: Istio's page "PeerAuthentication": the narrowest policy holds, and ports
// are read of those with a selector.
func TestMTLS(t *testing.T) {
	set := mtlsSet(t, config.Set{}, toStrict)
	last := time.Unix(1_800_000_000, 0)
	calls := []PlainCalls{
		{Namespace: "shop", Pod: "reviews-1", Port: 8080, Address: "10.1.0.3", Wire: "plaintext", Calls: 3, Last: last},
		{Namespace: "shop", Pod: "reviews-1", Port: 8080, Address: "10.1.0.2", Wire: "tls", Calls: 2},
		{Namespace: "shop", Pod: "reviews-1", Port: 6000, Address: "192.0.2.9", Wire: "plaintext", Calls: 1},
		{Namespace: "shop", Pod: "reviews-1", Port: 9090, Address: "10.1.0.3", Wire: "plaintext", Calls: 1},
		{Namespace: "shop", Pod: "web-1", Port: 80, Address: "10.1.0.3", Wire: "plaintext", Calls: 1},
	}
	got := MTLS(MTLSQuestion{Now: set, Calls: calls, Answered: []string{"shop/web-1"}})
	want := []string{
		"reviews PERMISSIVE  STRICT  ", "reviews PERMISSIVE  STRICT  ", "reviews PERMISSIVE  STRICT  ",
		"reviews PERMISSIVE  STRICT  traffic.sidecar.istio.io/excludeInboundPorts",
		"reviews caller: 192.0.2.9, which no pod has, calls in plaintext",
		"reviews caller: shop/old (10.1.0.3), which has no sidecar, calls in plaintext",
		"reviews caller: shop/web (10.1.0.2) calls by TLS of its own though it has a sidecar",
		"reviews rule: DestinationRule shop/plain has clients in shop call reviews.shop.svc.cluster.local without the mesh's mTLS",
		"reviews door: Service shop/reviews is a NodePort: clients outside have no certificate of the mesh",
		"reviews probe: the kubelet probes it in plaintext (container app, readinessProbe)",
		"reviews scrape: Prometheus scrapes it in plaintext (annotation prometheus.io/port)",
		"web PERMISSIVE shop/web PERMISSIVE shop/web ", "web PERMISSIVE shop/web PERMISSIVE shop/web ", "web DISABLE shop/web DISABLE shop/web ",
	}
	if lines := told(got); !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Equal(got.Bare, []string{"shop/old"}) {
		t.Errorf("without a sidecar: %v", got.Bare)
	}
	if !slices.Equal(got.Unanswered, []string{"shop/reviews-1"}) {
		t.Errorf("unanswered: %v", got.Unanswered)
	}
	if seen := got.Workloads[0].Breaks[1].Seen; seen == nil || seen.Calls != 3 || !seen.Last.Equal(last) {
		t.Errorf("seen: %+v", seen)
	}
}

// A change is judged by what it makes STRICT, with the cures that it brings, and
// who calls at a STRICT port is refused already.
func TestMTLSWhatIf(t *testing.T) {
	set := mtlsSet(t, config.Set{}, toStrict)
	calls := []PlainCalls{{Namespace: "shop", Pod: "web-1", Port: 7000, Address: "10.1.0.3", Wire: "plaintext", Calls: 1}}
	strict := "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: web, namespace: shop}\nspec: {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}\n"
	then := mtlsSet(t, set, strict)
	got := told(MTLS(MTLSQuestion{Now: set, Then: &then, Calls: calls, Workload: "web"}))
	want := []string{
		"web PERMISSIVE shop/web STRICT shop/web ", "web DISABLE shop/web STRICT shop/web ",
		"web caller: shop/old (10.1.0.3), which has no sidecar, calls in plaintext",
		"web disabled: it is DISABLE, so clients in the mesh call in plaintext until they hear of the change",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	got = told(MTLS(MTLSQuestion{Now: then, Calls: calls, Workload: "web"}))
	if !slices.Contains(got, "web refused: shop/old (10.1.0.3), which has no sidecar, calls in plaintext") {
		t.Errorf("got %q", got)
	}
}

// A probe breaks at a port that nothing else names, and a policy may come that
// names a port.
func TestMTLSPortsThatNoServiceHas(t *testing.T) {
	set := mtlsSet(t, config.Set{}, `
apiVersion: v1
kind: Pod
metadata: {name: a-1, namespace: shop, annotations: {sidecar.istio.io/status: "{}"}, labels: {app: a, service.istio.io/workload-name: a}}
spec: {containers: [{name: app, image: app, livenessProbe: {tcpSocket: {port: 9999}}}, {name: istio-proxy, image: proxy}]}
status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}
`)
	if got := told(MTLS(MTLSQuestion{Now: set})); !slices.Contains(got, "a probe: the kubelet probes it in plaintext (container app, livenessProbe)") {
		t.Errorf("%q", got)
	}
	then := mtlsSet(t, set, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: shop}\n"+
		"spec: {selector: {matchLabels: {app: a}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {7777: {mode: STRICT}}}\n")
	if got := told(MTLS(MTLSQuestion{Now: set, Then: &then})); !slices.Contains(got, "a PERMISSIVE  STRICT shop/a ") {
		t.Errorf("%q", got)
	}
}
