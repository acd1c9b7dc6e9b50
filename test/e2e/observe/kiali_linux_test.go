package observe

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// kiali holds what Kiali 2.x reads of a mesh: names, labels of series, objects,
// pages behind port-forwards.
func (b *bench) kiali() {
	for _, part := range []struct {
		name string
		do   func(*bench)
	}{
		{"series", (*bench).seriesLabelled}, {"edges", (*bench).edgesAgree}, {"charts", (*bench).chartsFilled},
		{"Prometheus", (*bench).prometheusPages}, {"control plane", (*bench).controlPlane}, {"configuration", (*bench).configuration},
		{"kinds", (*bench).kinds}, {"pods", (*bench).podsMarked}, {"control plane's pages", (*bench).pilotPages}, {"proxy's pages", (*bench).proxyPages},
	} {
		b.Run(part.name, func(t *testing.T) { part.do(b.on(t)) })
	}
}

// Labels without which Kiali skips a series.
var (
	edgeLabels = []string{
		"source_workload", "source_workload_namespace", "source_canonical_service", "source_canonical_revision", "source_cluster",
		"destination_workload", "destination_workload_namespace", "destination_canonical_service", "destination_canonical_revision", "destination_cluster",
		"destination_service", "destination_service_name", "destination_service_namespace",
	}
	everyLabel = append([]string{"reporter", "response_flags", "connection_security_policy", "source_principal", "destination_principal"}, edgeLabels...)
	httpLabels = append([]string{"request_protocol", "response_code"}, everyLabel...)
)

// families are Kiali's traffic metrics, with the labels that their series must have.
var families = map[string][]string{
	"istio_requests_total": httpLabels, "istio_request_duration_milliseconds_bucket": httpLabels, "istio_request_duration_milliseconds_sum": httpLabels,
	"istio_request_duration_milliseconds_count": httpLabels, "istio_request_bytes_bucket": httpLabels, "istio_request_bytes_sum": httpLabels,
	"istio_request_bytes_count": httpLabels, "istio_response_bytes_bucket": httpLabels, "istio_response_bytes_sum": httpLabels, "istio_response_bytes_count": httpLabels,
	"istio_tcp_sent_bytes_total": everyLabel, "istio_tcp_received_bytes_total": everyLabel,
	"istio_tcp_connections_opened_total": everyLabel, "istio_tcp_connections_closed_total": everyLabel,
}

// values are what some labels may say.
var values = map[string]*regexp.Regexp{
	"reporter": regexp.MustCompile(`^(source|destination)$`), "request_protocol": regexp.MustCompile(`^(http|grpc)$`), "response_code": regexp.MustCompile(`^\d+$`),
	"grpc_response_status": regexp.MustCompile(`^\d+$`), "response_flags": regexp.MustCompile(`^(-|[A-Z]+(,[A-Z]+)*)$`),
	"source_cluster": regexp.MustCompile(`^(Kubernetes|unknown)$`), "destination_cluster": regexp.MustCompile(`^(Kubernetes|unknown)$`),
	"source_principal": regexp.MustCompile(`^(spiffe://.+|unknown)$`), "destination_principal": regexp.MustCompile(`^(spiffe://.+|unknown)$`),
	"connection_security_policy": regexp.MustCompile(`^(mutual_tls|none|unknown)$`),
	"destination_service":        regexp.MustCompile(`^([a-z0-9-]+(\.[a-z0-9-]+)+|unknown)$`),
}

// seriesLabelled: every series has every label, with a value that Kiali knows.
func (b *bench) seriesLabelled() {
	for metric, want := range families {
		var series []sample
		b.Eventually("both sides tell of "+metric, func() (err error) {
			series, err = b.query(metric)
			reporters := map[string]bool{}
			for _, s := range series {
				reporters[s.labels["reporter"]] = true
			}
			if err == nil && len(reporters) != 2 {
				err = fmt.Errorf("%d series, told by %v alone", len(series), reporters)
			}
			return err
		})
		for _, s := range series {
			for _, name := range append([]string{"pod", "namespace", "app"}, want...) {
				if s.labels[name] == "" {
					b.Errorf("%s has no %s: %v", metric, name, s.labels)
				}
			}
			for name, value := range s.labels {
				if known := values[name]; known != nil && !known.MatchString(value) {
					b.Errorf("%s: %s is %q", metric, name, value)
				}
			}
		}
	}
}

// ofTwo are workloads that two Services select by the same port: their own proxy
// cannot know which was called and tells one of them, as in Istio.
var ofTwo = map[string]bool{"ratings": true}

// edgesAgree: both sides of an edge have the same labels, a workload is a
// Deployment, and the server knows the caller's identity.
func (b *bench) edgesAgree() {
	for metric, more := range map[string][]string{
		`istio_requests_total{response_code="200",response_flags="-"}`: {"request_protocol", "grpc_response_status"},
		`istio_tcp_connections_opened_total{response_flags="-"}`:       nil,
	} {
		b.Eventually("both sides of each edge of "+metric, func() error {
			series, err := b.query(metric)
			if err != nil {
				return err
			}
			sides := map[string]map[string]bool{}
			for _, s := range series {
				if s.labels["source_workload"] == "unknown" || s.labels["destination_workload"] == "unknown" {
					continue
				}
				var edge []string
				for _, name := range append(more, edgeLabels...) {
					if !ofTwo[s.labels["destination_workload"]] || !strings.HasPrefix(name, "destination_service") {
						edge = append(edge, name+"="+s.labels[name])
					}
				}
				key := strings.Join(edge, " ")
				if sides[key] == nil {
					sides[key] = map[string]bool{}
				}
				sides[key][s.labels["reporter"]] = true
				if err := b.isEdge(s.labels); err != nil {
					return err
				}
			}
			for edge, by := range sides {
				if len(by) != 2 {
					return fmt.Errorf("%v alone tells of %s", by, edge)
				}
			}
			if len(sides) == 0 {
				return errors.New("no edge")
			}
			return nil
		})
	}
}

func (b *bench) isEdge(l map[string]string) error {
	for _, side := range []string{"source", "destination"} {
		namespace, workload := l[side+"_workload_namespace"], l[side+"_workload"]
		d, err := b.API.AppsV1().Deployments(namespace).Get(b.Context(), workload, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("%s_workload %s/%s is no Deployment: %w", side, namespace, workload, err)
		}
		labels := d.Spec.Template.Labels
		if l[side+"_canonical_service"] != labels["app"] || l[side+"_canonical_revision"] != cmp.Or(labels["version"], "latest") {
			return fmt.Errorf("%s: canonical service %s, revision %s, of a pod with %v", workload, l[side+"_canonical_service"], l[side+"_canonical_revision"], labels)
		}
		if want := "spiffe://cluster.local/ns/" + namespace + "/sa/"; l["reporter"] == "destination" && !strings.HasPrefix(l[side+"_principal"], want) {
			return fmt.Errorf("%s_principal is %s, want that of %s", side, l[side+"_principal"], want)
		}
	}
	if l["reporter"] == "destination" && l["connection_security_policy"] != "mutual_tls" {
		return fmt.Errorf("between sidecars it is %s", l["connection_security_policy"])
	}
	return nil
}

// chartsFilled: what Kiali's own dashboards and its mesh page ask for.
func (b *bench) chartsFilled() {
	for _, metric := range []string{
		"pilot_proxy_convergence_time_sum", "pilot_proxy_convergence_time_count", "process_cpu_seconds_total", "process_resident_memory_bytes",
		"pilot_info", "pilot_xds", "pilot_xds_pushes", "pilot_services", "envoy_server_uptime", "envoy_server_memory_allocated", "envoy_server_memory_heap_size",
		"envoy_cluster_upstream_cx_active", "envoy_cluster_upstream_rq_total", "envoy_listener_downstream_cx_active", "go_goroutines",
	} {
		var series []sample
		b.Eventually("there is "+metric, func() (err error) {
			if series, err = b.query(metric); err == nil && len(series) == 0 {
				err = errors.New("no series")
			}
			return err
		})
		for _, s := range series {
			if s.labels["namespace"] == "" || s.labels["app"] == "" || s.labels["pod"] == "" {
				b.Errorf("%s lacks namespace, app or pod: %v", metric, s.labels)
			}
		}
	}
}

// prometheusPages are those that Kiali asks of it.
func (b *bench) prometheusPages() {
	for _, page := range []string{"buildinfo", "config", "runtimeinfo"} {
		b.Eventually("there is "+page, func() error {
			var any map[string]any
			err := b.get("/api/v1/status/"+page, nil, &any)
			if err == nil && len(any) == 0 {
				err = errors.New("it is empty")
			}
			return err
		})
	}
	b.Eventually("it is healthy", func() error {
		text, err := b.API.CoreV1().Services(system).ProxyGet("http", "prometheus", "http", "/-/healthy", nil).DoRaw(b.Context())
		if err != nil {
			return fmt.Errorf("%w: %s", err, text)
		}
		return nil
	})
}

// controlPlane: its Deployment, pods and Service are found by their labels.
func (b *bench) controlPlane() {
	list := metav1.ListOptions{LabelSelector: "app=istiod,istio.io/rev=default"}
	deployments, err := b.API.AppsV1().Deployments(metav1.NamespaceAll).List(b.Context(), list)
	if err != nil || len(deployments.Items) != 1 {
		b.Fatalf("%d Deployments (%v)", len(deployments.Items), err)
	}
	d := deployments.Items[0]
	if at := slices.IndexFunc(d.Spec.Template.Spec.Containers[0].Env, func(e corev1.EnvVar) bool { return e.Name == "CLUSTER_ID" && e.Value == "Kubernetes" }); at < 0 {
		b.Errorf("no CLUSTER_ID in %v", d.Spec.Template.Spec.Containers[0].Env)
	}
	for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
		if strings.HasPrefix(arg, "--monitoringAddr") {
			b.Errorf("%s: Kiali asks another port", arg)
		}
	}
	pods, err := b.API.CoreV1().Pods(d.Namespace).List(b.Context(), list)
	if err != nil || len(pods.Items) == 0 || pods.Items[0].Status.Phase != corev1.PodRunning {
		b.Errorf("pods %v (%v)", pods, err)
	}
	services, err := b.API.CoreV1().Services(d.Namespace).List(b.Context(), list)
	if err != nil || len(services.Items) != 1 || !slices.ContainsFunc(services.Items[0].Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == "http-monitoring" }) {
		b.Errorf("Services %v (%v)", services, err)
	}
	parts, err := b.API.CoreV1().Services(d.Namespace).List(b.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=weft"})
	if err != nil {
		b.Fatal(err)
	}
	monitored := slices.DeleteFunc(parts.Items, func(s corev1.Service) bool {
		return !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == "http-monitoring" })
	})
	if len(monitored) != 3 { // what the sample's ServiceMonitor selects: pilot, CA, injector
		b.Errorf("Services that are monitored: %v", monitored)
	}
	hooks, err := b.API.AdmissionregistrationV1().MutatingWebhookConfigurations().List(b.Context(), metav1.ListOptions{LabelSelector: "istio.io/rev=default"})
	if err != nil || len(hooks.Items) == 0 {
		b.Errorf("webhooks of revision default: %v (%v)", hooks, err)
	}
}

// configuration: the ConfigMaps that Kiali reads.
func (b *bench) configuration() {
	read := func(name, key string, into any) {
		m, err := b.API.CoreV1().ConfigMaps(system).Get(b.Context(), name, metav1.GetOptions{})
		if err == nil && m.Data[key] == "" {
			err = errors.New("it is empty")
		}
		if err == nil && into != nil {
			err = yaml.Unmarshal([]byte(m.Data[key]), into) // JSON is YAML
		}
		if err != nil {
			b.Errorf("ConfigMap %s, %s: %v", name, key, err)
		}
	}
	var mesh struct{ TrustDomain, RootNamespace string }
	read("istio", "mesh", &mesh)
	if mesh.TrustDomain != "cluster.local" || mesh.RootNamespace != system {
		b.Errorf("the mesh's configuration: %+v", mesh)
	}
	read("istio-ca-root-cert", "root-cert.pem", nil)
	var injector struct{ Global map[string]any }
	read("istio-sidecar-injector", "values", &injector)
	if _, is := injector.Global["network"]; !is {
		b.Errorf("the injector's values have no global.network: %v", injector.Global)
	}
}

// kinds that Kiali lists; where one is missing it shows none.
func (b *bench) kinds() {
	for version, want := range map[string]string{
		"networking.istio.io/v1":       "DestinationRule Gateway ServiceEntry Sidecar VirtualService WorkloadEntry WorkloadGroup",
		"networking.istio.io/v1alpha3": "EnvoyFilter", "telemetry.istio.io/v1": "Telemetry", "extensions.istio.io/v1alpha1": "WasmPlugin",
		"security.istio.io/v1": "AuthorizationPolicy PeerAuthentication RequestAuthentication",
	} {
		got, err := b.API.Discovery().ServerResourcesForGroupVersion(version)
		if err != nil {
			b.Errorf("%s: %v", version, err)
			continue
		}
		for kind := range strings.FieldsSeq(want) {
			if !slices.ContainsFunc(got.APIResources, func(r metav1.APIResource) bool { return r.Kind == kind && slices.Contains(r.Verbs, "watch") }) {
				b.Errorf("%s has no %s", version, kind)
			}
		}
	}
}

// podsMarked: a pod of the mesh says so, and a gateway that it is one.
func (b *bench) podsMarked() {
	seen := 0
	for _, p := range append(b.pods("shop"), b.pods(system)...) {
		names := func(all []corev1.Container) (out []string) {
			for _, c := range all {
				out = append(out, c.Name)
			}
			return out
		}
		if !slices.Contains(append(names(p.Spec.Containers), names(p.Spec.InitContainers)...), "istio-proxy") {
			continue
		}
		seen++
		var status struct{ Containers, InitContainers []string }
		if err := json.Unmarshal([]byte(p.Annotations["sidecar.istio.io/status"]), &status); err != nil || !slices.Contains(append(status.Containers, status.InitContainers...), "istio-proxy") {
			b.Errorf("%s: sidecar.istio.io/status: %+v (%v)", p.Name, status, err)
		}
		if p.Labels["istio"] == "ingressgateway" && p.Labels["operator.istio.io/component"] != "IngressGateways" {
			b.Errorf("%s: a gateway by its labels? %v", p.Name, p.Labels)
		}
		if p.Annotations["prometheus.io/port"] != "15020" || p.Annotations["prometheus.io/path"] != "/stats/prometheus" {
			b.Errorf("%s: annotations %v", p.Name, p.Annotations)
		}
	}
	if seen < 5 {
		b.Errorf("%d pods with a proxy", seen)
	}
}

var forwarding = regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+)`)

// forward opens a port of a pod, as Kiali does, and gives its URL.
func (b *bench) forward(namespace, pod, port string) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), b.KubectlPath, "--kubeconfig", b.Kubeconfig(), "port-forward", "--address", "127.0.0.1", "-n", namespace, "pod/"+pod, ":"+port)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line := make([]byte, 200)
	n, err := io.ReadAtLeast(out, line, len("Forwarding from 127.0.0.1:1 -> 1"))
	m := forwarding.FindSubmatch(line[:n])
	if m == nil {
		b.Fatalf("port-forward to %s: %q (%v)", pod, line[:n], err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return "http://127.0.0.1:" + string(m[1])
}

// ask gives the body of an answer that is well.
func (b *bench) ask(method, url string) (string, error) {
	request, err := http.NewRequestWithContext(b.Context(), method, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %.300s", method, url, resp.Status, text)
	}
	return string(text), err
}

// pilotPages: ready, version, and every proxy in sync.
func (b *bench) pilotPages() {
	pod := b.one(system, "app", "istiod")
	health := b.forward(system, pod, "8080")
	b.Eventually("it is ready", func() error { _, err := b.ask("GET", health+"/ready"); return err })
	monitoring := b.forward(system, pod, "15014")
	b.Eventually("it tells its version", func() error {
		version, err := b.ask("GET", monitoring+"/version")
		if err == nil && strings.TrimSpace(version) == "" {
			err = errors.New("it is empty")
		}
		return err
	})
	b.Eventually("every proxy is in sync", func() error {
		text, err := b.ask("GET", monitoring+"/debug/syncz")
		var all []map[string]string
		if err == nil {
			err = json.Unmarshal([]byte(text), &all)
		}
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, s := range all {
			for _, kind := range []string{"cluster", "listener", "route", "endpoint"} {
				if s[kind+"_sent"] == "" || s[kind+"_sent"] != s[kind+"_acked"] {
					return fmt.Errorf("%s of %v", kind, s)
				}
			}
			if s["cluster_id"] != "Kubernetes" || strings.Count(s["proxy"], ".") != 1 {
				return fmt.Errorf("cluster or name of %v", s)
			}
			known[s["proxy"]] = true
		}
		for _, p := range b.pods("") {
			if p.Annotations["sidecar.istio.io/status"] != "" && !known[p.Name+"."+p.Namespace] {
				return fmt.Errorf("%s.%s is not there", p.Name, p.Namespace)
			}
		}
		return nil
	})
}

func (b *bench) one(namespace, label, value string) string {
	b.Helper()
	for _, p := range b.pods(namespace) {
		if p.Labels[label] == value {
			return p.Name
		}
	}
	b.Fatalf("no pod with %s=%s in %s", label, value, namespace)
	return ""
}

// proxyPages: Envoy's configuration names clusters as Istio's does, and the
// objects that clusters and routes come from; its log level can be set.
func (b *bench) proxyPages() {
	envoy := b.forward("shop", b.one("shop", "app", "frontend"), "15000")
	text, err := b.ask("GET", envoy+"/config_dump")
	if err != nil {
		b.Fatal(err)
	}
	for _, want := range []string{
		`"outbound|80|v1|reviews.shop.svc.cluster.local"`, `"/apis/networking.istio.io/v1/namespaces/shop/destination-rule/reviews"`,
		`"/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews"`, `"type.googleapis.com/envoy.admin.v3.ClustersConfigDump"`,
		`"type.googleapis.com/envoy.admin.v3.ListenersConfigDump"`, `"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"`,
	} {
		if !strings.Contains(text, want) {
			b.Errorf("config_dump has no %s", want)
		}
	}
	if _, err := b.ask("POST", envoy+"/logging?level=warning"); err != nil {
		b.Error(err)
	}
}
