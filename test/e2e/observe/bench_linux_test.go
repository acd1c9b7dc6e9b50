// Package observe tests on a real cluster what the mesh tells of itself: the
// Prometheus of samples/addons scrapes it, every query of the dashboards and of the
// alert rules has data there, and Kiali's contract holds. It uses weft, kubectl and
// the samples as the guide does, and imports of the mesh nothing.
package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/image"
	"github.com/weftmesh/weft/test/addons"
	"github.com/weftmesh/weft/test/e2e/rig"
)

const system = "weft-system"

// bench is a cluster with the mesh, calls of every kind in it, and a copy of the
// samples whose Prometheus finds its pods in a file.
type bench struct {
	*rig.Rig
	dir string
}

func (b *bench) on(t *testing.T) *bench { return &bench{b.On(t), b.dir} }

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{rig.New(t), t.TempDir()}
	b.loadPrometheus()
	b.MustWeft("", append([]string{"install", "-y"}, sets(rig.Lean)...)...)
	for namespace, sample := range map[string]string{"shop": "bookshop", "calls": "grpc", "store": "tcp", "spare": "tcp/store.yaml"} {
		b.Must(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {istio-injection: enabled}}}", namespace), "apply", "-f", "-")
		b.Must("", "apply", "-n", namespace, "-f", filepath.Join("../../../samples", sample))
	}
	b.Must(trouble, "apply", "-n", "shop", "-f", "-")
	for _, namespace := range []string{system, "shop", "calls", "store", "spare"} {
		b.Must("", "wait", "-n", namespace, "--for=condition=Available", "deployment", "--all", "--timeout=120s")
	}
	b.samples()
	return b
}

func sets(values []string) (out []string) {
	for _, v := range values {
		out = append(out, "--set", v)
	}
	return out
}

// loadPrometheus gives the nodes Debian's under the name that the sample has.
func (b *bench) loadPrometheus() {
	b.Helper()
	program, err := exec.LookPath("prometheus")
	switch {
	case err != nil && os.Getenv("CI") != "":
		b.Fatalf("%v: on Debian, apt-get install prometheus", err)
	case err != nil:
		b.Skipf("%v: on Debian, apt-get install prometheus", err)
	}
	files, err := image.Libraries(program)
	if err != nil {
		b.Fatal(err)
	}
	files["/bin/prometheus"] = program
	name := regexp.MustCompile(`image: (\S+)`).FindStringSubmatch(b.read("prometheus.yaml"))[1]
	archive := filepath.Join(b.TempDir(), "prometheus.tar")
	made := image.Image{Names: []string{name}, Files: files, Dirs: []string{"/prometheus"}, Entrypoint: []string{"/bin/prometheus"}, User: "65534:65534"}
	if err = made.Write(archive); err == nil {
		err = b.LoadImages(b.Context(), archive)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// read is the text of a file of samples/addons.
func (b *bench) read(name string) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("../../../samples/addons", name))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// samples copies them. Debian's Prometheus is built without the discovery of
// Kubernetes: it reads from a file what that would tell of each pod. And it
// scrapes more often, for the test's sake.
func (b *bench) samples() {
	b.Helper()
	pods, err := json.Marshal(b.discovered())
	if err == nil {
		err = os.CopyFS(filepath.Join(b.dir, "samples"), os.DirFS("../../../samples"))
	}
	if err == nil {
		err = os.Symlink(b.Bin, filepath.Join(b.dir, "bin"))
	}
	config := addons.Discovering(b.read("prometheus.yml"), "pods.json") + b.monitors()
	for name, text := range map[string]string{
		"prometheus.yml":     strings.NewReplacer("15s", "3s", "10s", "3s").Replace(config),
		"kustomization.yaml": strings.Replace(b.read("kustomization.yaml"), "prometheus.yml, alerts.yaml", "prometheus.yml, alerts.yaml, pods.json", 1),
		"pods.json":          string(pods),
	} {
		if err == nil {
			err = os.WriteFile(filepath.Join(b.dir, "samples", "addons", name), []byte(text), 0o644)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
}

// monitors are those for the Prometheus Operator, as jobs beside the sample's own.
func (b *bench) monitors() (out string) {
	b.Helper()
	jobs, err := addons.PodMonitors("../../../samples/addons/monitors.yaml", "pods.json")
	if err != nil {
		b.Fatal(err)
	}
	for _, job := range jobs {
		text, err := json.Marshal(job) // JSON is YAML
		if err != nil {
			b.Fatal(err)
		}
		out += "- " + string(text) + "\n"
	}
	return out
}

// group is of a file of file_sd_configs.
type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

var odd = regexp.MustCompile(`[^a-zA-Z0-9_]`)

// discovered are all containers of pods with the labels that kubernetes_sd_configs gives them.
// Source: Prometheus, "Configuration", kubernetes_sd_config, role pod.
func (b *bench) discovered() (out []group) {
	b.Helper()
	for _, p := range b.pods("") {
		meta := map[string]string{
			"namespace": p.Namespace, "pod_name": p.Name, "pod_ip": p.Status.PodIP, "pod_node_name": p.Spec.NodeName, "pod_phase": string(p.Status.Phase),
		}
		for kind, all := range map[string]map[string]string{"pod_label_": p.Labels, "pod_annotation_": p.Annotations} {
			for name, value := range all {
				meta[kind+odd.ReplaceAllString(name, "_")] = value
			}
		}
		for _, c := range append(p.Spec.Containers, p.Spec.InitContainers...) { // and for each of its ports
			g := group{[]string{p.Status.PodIP}, map[string]string{"__meta_kubernetes_pod_container_name": c.Name}}
			for _, port := range c.Ports {
				g.Targets = append(g.Targets, net.JoinHostPort(p.Status.PodIP, fmt.Sprint(port.ContainerPort)))
			}
			for name, value := range meta {
				g.Labels["__meta_kubernetes_"+name] = value
			}
			out = append(out, g)
		}
	}
	return out
}

// pods are those of a namespace, or all, that run.
func (b *bench) pods(namespace string) (out []corev1.Pod) {
	b.Helper()
	list, err := b.API.CoreV1().Pods(namespace).List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			out = append(out, p)
		}
	}
	return out
}

// trouble: a gateway that knows nothing of some hosts, and a service with room
// for one request of a caller at a time.
const trouble = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: gone}
spec:
  hosts: [gone.example.com]
  gateways: [bookshop]
  http: [{directResponse: {status: 404}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: details}
spec:
  host: details
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 1}}}
`

// calls go on until the test's end: through the gateway, between sidecars, without
// one, gRPC, TCP; some fail, some are refused by a circuit breaker.
func (b *bench) calls() {
	b.Helper()
	const door = "http://istio-ingressgateway.weft-system/"
	b.in("shop", "reviews-v2", "ctl", "fail", "on")
	b.in("shop", "details", "ctl", "delay", "20ms")
	for caller, args := range map[string][]string{
		"page": {"shop", "legacy", "--url", door, "--rps", "10"}, "gone": {"shop", "legacy", "--url", door, "--rps", "2", "--header", "Host=gone.example.com"},
		"plaintext": {"shop", "legacy", "--url", "http://details/", "--rps", "2"}, "crowd": {"shop", "frontend", "--url", "http://details/", "--rps", "40", "--workers", "8"},
	} {
		b.keep(caller, args[0], args[1], append([]string{"load", "--requests", "0"}, args[2:]...)...)
	}
	b.keep("gRPC", "calls", "client", "grpc-load", "--target", "ratings:9000", "--calls", "0", "--rps", "5")
	b.keep("TCP", "store", "client", "dial", "tcp", "store:9000", "--times", "50")
}

// in runs the bookshop's program in a pod of a Deployment.
func (b *bench) in(namespace, deployment string, args ...string) {
	b.Helper()
	b.Must("", append([]string{"exec", "-n", namespace, "deploy/" + deployment, "--", "/bin/bookshop"}, args...)...)
}

// keep runs it again and again until the test's end.
func (b *bench) keep(what, namespace, deployment string, args ...string) {
	b.again(what, 2*time.Second, append([]string{"exec", "-n", namespace, "deploy/" + deployment, "--", "/bin/bookshop"}, args...)...)
}

// again calls kubectl until the test's end.
func (b *bench) again(what string, every time.Duration, args ...string) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	command := append([]string{"--kubeconfig", b.Kubeconfig()}, args...)
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ctx.Err() == nil {
			if out, err := exec.CommandContext(ctx, b.KubectlPath, command...).CombinedOutput(); err != nil && ctx.Err() == nil {
				b.Logf("%s: %v: %.300s", what, err, out)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	b.Cleanup(func() { cancel(); <-done })
}

// asked is an answer of Prometheus's HTTP API.
type asked struct {
	Status, Error string
	Data          json.RawMessage
}

// get asks Prometheus by the API server.
func (b *bench) get(path string, params map[string]string, into any) error {
	text, err := b.API.CoreV1().Services(system).ProxyGet("http", "prometheus", "http", path, params).DoRaw(b.Context())
	if err != nil {
		return fmt.Errorf("%s %v: %w: %.300s", path, params, err, text)
	}
	var a asked
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("%s: %w: %.300s", path, err, text)
	}
	if a.Status != "success" {
		return fmt.Errorf("%s %v: %s", path, params, a.Error)
	}
	return json.Unmarshal(a.Data, into)
}

// sample is one series with its value of the moment.
type sample struct {
	labels map[string]string
	value  string
}

// query gives what an expression has now.
func (b *bench) query(expr string) ([]sample, error) {
	var got struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := b.get("/api/v1/query", map[string]string{"query": expr}, &got); err != nil {
		return nil, err
	}
	out := make([]sample, len(got.Result))
	for i, r := range got.Result {
		out[i] = sample{maps.Clone(r.Metric), fmt.Sprint(r.Value[1])}
	}
	return out, nil
}
