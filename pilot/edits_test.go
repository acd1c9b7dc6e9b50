package pilot

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
)

// fullMesh is a mesh with objects of every kind, as many of each as it has
// services or a tenth of that, and all that the pilot keeps up to date of it:
// the classes of proxies, findings, and the snapshots of a sidecar's two
// classes, of a sidecar with a Sidecar, and of a router.
type fullMesh struct {
	set        config.Set
	compiler   *compiler
	classifier *view.Classifier
	names      []string
	lines      []*line
	snaps      []snapshot.Snapshot
	findings   memo.Table[*compile.Findings]
}

func newFullMesh(t *testing.T, services int) *fullMesh {
	m := &fullMesh{compiler: newCompiler(), classifier: view.NewClassifier()}
	for i := range services {
		m.add(t, everyService(i))
		if i < services/10 {
			m.add(t, everyTenth(i))
		}
	}
	for _, e := range edits(t) {
		m.set = m.set.With(e.states[0])
	}
	mesh := m.compiler.Mesh(m.set).Mesh
	m.classifier.Update(mesh)
	for _, p := range []struct {
		name string
		model.Proxy
	}{
		{"sidecar", model.Proxy{Proven: true, Sidecar: true, Name: "svc-00001", Namespace: "shop"}},
		{"scoped", model.Proxy{Proven: true, Sidecar: true, Name: "none", Namespace: "shop", Labels: map[string]string{"scope": "svc-00001"}}},
		{"router", model.Proxy{Proven: true, Name: "none", Namespace: "edge", Labels: map[string]string{"istio": "svc-00001"}}},
	} {
		for _, class := range m.classifier.Classes(p.Proxy) {
			m.names, m.lines = append(m.names, p.name+"/"+string(class.Role)), append(m.lines, newLine(class))
		}
	}
	m.snaps = make([]snapshot.Snapshot, len(m.lines))
	m.run()
	return m
}

func (m *fullMesh) add(t *testing.T, text string) {
	objects, found := config.Decode("x.yaml", []byte(text))
	if len(found) > 0 {
		t.Fatal(found)
	}
	for _, o := range objects {
		m.set = m.set.With(o)
	}
}

// everyService is a service with its pod and endpoints.
func everyService(i int) string {
	name, ip := fmt.Sprintf("svc-%05d", i), fmt.Sprintf("%d.%d", i/250, 1+i%250)
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {clusterIP: 10.96.%s, selector: {app: %[1]s}, ports: [{name: http, port: 80, targetPort: 8080}]}\n", name, ip) +
		"---\n" + livePod(name, ip, "v1") + "---\n" + sliceOf(name, ip)
}

func livePod(name, ip, version string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %[1]s, namespace: shop, labels: {app: %[1]s, version: %[3]s, security.istio.io/tlsMode: istio}}\n"+
		"spec: {serviceAccountName: %[1]s, containers: [{name: app, ports: [{containerPort: 8080}]}]}\nstatus: {phase: Running, podIP: 10.1.%[2]s, podIPs: [{ip: 10.1.%[2]s}]}\n", name, ip, version)
}

func sliceOf(name, ip string) string {
	return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %[1]s-1, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}\n"+
		"addressType: IPv4\nports: [{name: http, port: 8080, protocol: TCP}]\nendpoints: [{addresses: [10.1.%[2]s], conditions: {ready: true}, targetRef: {kind: Pod, name: %[1]s, namespace: shop}}]\n", name, ip)
}

// istio is an object of Istio's API in shop.
func istio(kind, name, spec string) string {
	group := config.Kind(kind).Group()
	version := "v1"
	if kind == "EnvoyFilter" {
		version = "v1alpha3"
	}
	return fmt.Sprintf("apiVersion: %s/%s\nkind: %s\nmetadata: {name: %s, namespace: shop}\nspec: %s\n", group, version, kind, name, spec)
}

// everyTenth is an object of each other kind, for one service in ten.
func everyTenth(i int) string {
	svc, ext := fmt.Sprintf("svc-%05d", i), fmt.Sprintf("ext-%05d", i)
	return strings.Join([]string{
		istio("VirtualService", svc, fmt.Sprintf("{hosts: [%[1]s, %[1]s.example.com], gateways: [mesh, %[1]s], http: [{timeout: 5s, route: [{destination: {host: %[1]s}}]}]}", svc)),
		istio("DestinationRule", svc, fmt.Sprintf("{host: %s, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}", svc)),
		istio("Gateway", svc, fmt.Sprintf("{selector: {istio: %[1]s}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [%[1]s.example.com]}, {port: {number: 443, name: https, protocol: HTTPS}, hosts: [%[1]s.example.com], tls: {mode: SIMPLE, credentialName: %[1]s}}]}", svc)),
		istio("ServiceEntry", ext, fmt.Sprintf("{hosts: [%s.example.org], addresses: [10.97.0.%d], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.3.0.1}]}", ext, 1+i)),
		istio("ServiceEntry", "vm-"+ext, fmt.Sprintf("{hosts: [vm-%[1]s.example.org], addresses: [10.98.0.%[2]d], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, workloadSelector: {labels: {vm: %[1]s}}}", ext, 1+i)),
		istio("WorkloadEntry", ext, fmt.Sprintf("{address: 10.4.0.%d, labels: {vm: %s}}", 1+i, ext)),
		istio("Sidecar", svc, fmt.Sprintf("{workloadSelector: {labels: {scope: %[1]s}}, egress: [{hosts: [./%[1]s.shop.svc.cluster.local]}]}", svc)),
		istio("EnvoyFilter", svc, fmt.Sprintf("{configPatches: [{applyTo: CLUSTER, match: {cluster: {service: %s.shop.svc.cluster.local}}, patch: {operation: MERGE, value: {connect_timeout: 3s}}}]}", svc)),
		istio("AuthorizationPolicy", svc, fmt.Sprintf("{selector: {matchLabels: {app: %s}}, rules: [{to: [{operation: {paths: [/a]}}]}]}", svc)),
		istio("PeerAuthentication", svc, fmt.Sprintf("{selector: {matchLabels: {app: %s}}, mtls: {mode: STRICT}}", svc)),
	}, "---\n")
}

// edit is two states of one object.
type edit struct {
	kind   string
	states [2]*config.Object
}

func edits(t *testing.T) (all []edit) {
	add := func(one, two string) {
		objects := [2]*config.Object{decode(t, one), decode(t, two)}
		all = append(all, edit{kind: string(objects[0].Kind), states: objects})
	}
	vary := func(kind, name, format string, one, two any) {
		add(istio(kind, name, fmt.Sprintf(format, one)), istio(kind, name, fmt.Sprintf(format, two)))
	}
	vary("VirtualService", "svc-00001", "{hosts: [svc-00001, a.example.com, b.example.com], gateways: [mesh, svc-00001], http: [{timeout: %s, route: [{destination: {host: svc-00001}}]}]}", "5s", "6s")
	vary("DestinationRule", "svc-00001", "{host: svc-00001, trafficPolicy: {loadBalancer: {simple: %s}}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}", "RANDOM", "ROUND_ROBIN")
	vary("Gateway", "svc-00001", "{selector: {istio: svc-00001}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [svc-00001.example.com, %s]}, {port: {number: 443, name: https, protocol: HTTPS}, hosts: [svc-00001.example.com], tls: {mode: SIMPLE, credentialName: svc-00001}}]}", "a.example.com", "b.example.com")
	vary("ServiceEntry", "ext-00001", "{hosts: [ext-00001.example.org], addresses: [10.97.0.2], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.3.0.%d}]}", 1, 2)
	vary("WorkloadEntry", "ext-00001", "{address: 10.4.1.%d, labels: {vm: ext-00001}}", 1, 2)
	vary("Sidecar", "svc-00001", "{workloadSelector: {labels: {scope: svc-00001}}, egress: [{hosts: [./svc-00001.shop.svc.cluster.local, ./svc-0000%d.shop.svc.cluster.local]}]}", 2, 3)
	vary("EnvoyFilter", "svc-00001", "{configPatches: [{applyTo: CLUSTER, match: {cluster: {service: svc-00001.shop.svc.cluster.local}}, patch: {operation: MERGE, value: {connect_timeout: %s}}}]}", "3s", "4s")
	vary("EnvoyFilter", "route-00001", "{configPatches: [{applyTo: HTTP_ROUTE, match: {routeConfiguration: {vhost: {name: 'svc-00002.shop.svc.cluster.local:80'}}}, patch: {operation: MERGE, value: {route: {timeout: %s}}}}]}", "7s", "8s")
	vary("AuthorizationPolicy", "svc-00001", "{selector: {matchLabels: {app: svc-00001}}, rules: [{to: [{operation: {paths: [%s]}}]}]}", "/a", "/b")
	vary("PeerAuthentication", "svc-00001", "{selector: {matchLabels: {app: svc-00001}}, mtls: {mode: %s}}", "STRICT", "PERMISSIVE")
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: svc-00001, namespace: shop}\nspec: {clusterIP: 10.96.0.2, selector: {app: svc-00001}, ports: [{name: http, port: 80, targetPort: 8080}%s]}\n"
	add(fmt.Sprintf(service, ""), fmt.Sprintf(service, ", {name: tcp, port: 9000, targetPort: 9000}"))
	add(sliceOf("svc-00001", "0.2"), sliceOf("svc-00001", "9.9"))
	add(livePod("svc-00001", "0.2", "v1"), livePod("svc-00001", "0.2", "v2"))
	all = append(all, edit{kind: "Secret", states: secrets(t)})
	return all
}

func secrets(t *testing.T) (states [2]*config.Object) {
	archive, err := txtar.ParseFile("testdata/push-secret.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range []string{"before.yaml", "after.yaml"} {
		at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == part })
		objects, _ := config.Decode(part, archive.Files[at].Data)
		for _, o := range objects {
			if o.Kind == config.Secret && o.Namespace == "weft-system" {
				named := *o
				named.Namespace, named.Name = "edge", "svc-00001"
				states[i] = &named
			}
		}
	}
	return states
}

// run takes the set through all stages, and says which resources changed.
func (m *fullMesh) run() (changed []string) {
	result := m.compiler.Mesh(m.set)
	m.classifier.Update(result.Mesh)
	for range memo.Diff(m.findings, result.Findings) {
		changed = append(changed, "finding")
	}
	m.findings = result.Findings
	for i, l := range m.lines {
		next := l.snapshot(result.Mesh)
		for _, typeURL := range next.Types() {
			for ch := range memo.Diff(m.snaps[i].Of(typeURL), next.Of(typeURL)) {
				if !snapshot.Same(ch.Old, ch.New) {
					changed = append(changed, m.names[i]+" "+shortType(typeURL)+" "+ch.Key)
				}
			}
		}
		m.snaps[i] = next
	}
	return changed
}

// TestEveryEditCostsTheSame is law 3 for each kind: an edit costs the same in a
// mesh of 100 services and of 1,000, counted in allocations, which no load of
// the machine disturbs; and it changes no resource but those that
// testdata/edits.txt lists. What an object is for that names no host, or the
// whole mesh, is no edit of one thing: an EnvoyFilter without a match redoes
// each resource of the type it edits, since that is what it concerns.
func TestEveryEditCostsTheSame(t *testing.T) {
	small, large := newFullMesh(t, 100), newFullMesh(t, 1000)
	var got strings.Builder
	for _, e := range edits(t) {
		s, changed := small.cost(e)
		l, also := large.cost(e)
		t.Logf("%s: %.0f allocations at 100 services, %.0f at 1,000", e.kind, s, l)
		// Paths in tables are longer by the logarithm of what is in them.
		if l > 1.4*s {
			t.Errorf("%s: an edit costs %.2f times as much at 1,000 services as at 100", e.kind, l/s)
		}
		if !slices.Equal(changed, also) {
			t.Errorf("%s: an edit changed %q at 100 services, and %q at 1,000", e.kind, changed, also)
		}
		fmt.Fprintf(&got, "%s\n", e.kind)
		for _, c := range changed {
			fmt.Fprintf(&got, "  %s\n", c)
		}
	}
	if want, err := os.ReadFile("testdata/edits.txt"); err != nil || string(want) != got.String() {
		t.Errorf("testdata/edits.txt (%v) does not list what edits change:\n%s", err, got.String())
	}
}

// cost edits an object to and fro: the allocations of one edit, and what it
// changes, sorted.
func (m *fullMesh) cost(e edit) (allocations float64, changed []string) {
	i := 0
	allocations = testing.AllocsPerRun(20, func() {
		i++
		m.set = m.set.With(e.states[i%2])
		changed = m.run()
	})
	slices.Sort(changed)
	return allocations, changed
}
