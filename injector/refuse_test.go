package injector

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func podWith(annotations map[string]string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	p.Name, p.Annotations = "web", annotations
	return p
}

// TestWrongValues are refused, with the annotation and what to write instead.
func TestWrongValues(t *testing.T) {
	const traffic, readiness = "traffic.sidecar.istio.io/", "readiness.status.sidecar.istio.io/"
	for _, c := range []struct{ name, value, want string }{
		{traffic + "includeInboundPorts", "80,x", `want ports of 1 to 65535, comma separated, or "*"`},
		{traffic + "excludeInboundPorts", "*", "want ports"},
		{traffic + "excludeOutboundPorts", "0", "want ports"},
		{traffic + "includeOutboundPorts", "65536", "want ports"},
		{traffic + "includeOutboundIPRanges", "10.0.0.0/33", "want CIDRs"},
		{traffic + "excludeOutboundIPRanges", "*", "want CIDRs"},
		{traffic + "excludeInterfaces", "lo", "want interfaces"},
		{traffic + "kubevirtInterfaces", "a-name-too-long-by-one", "want interfaces"},
		{readiness + "periodSeconds", "0", "at least 1"},
		{readiness + "initialDelaySeconds", "-1", "at least 0"},
		{readiness + "failureThreshold", "two", "whole number"},
		{"sidecar.istio.io/proxyCPU", "lots", "want a quantity"},
		{"sidecar.istio.io/proxyMemoryLimit", "-1Mi", "want a quantity"},
		{"sidecar.istio.io/proxyImage", " ", "want an image"},
		{"sidecar.istio.io/proxyImageType", "debug", "there is one image"},
		{"sidecar.istio.io/logLevel", "loud", "want one of trace"},
		{"sidecar.istio.io/componentLogLevel", "filter", "want COMPONENT:LEVEL"},
		{"sidecar.istio.io/agentLogLevel", "xds:debug", "want default:LEVEL"},
		{"sidecar.istio.io/interceptionMode", "TPROXY", "want REDIRECT or NONE"},
		{"sidecar.istio.io/rewriteAppHTTPProbers", "yes please", `want "true" or "false"`},
		{"sidecar.istio.io/nativeSidecar", "sometimes", `want "true" or "false"`},
		{"prometheus.istio.io/merge-metrics", "", `want "true" or "false"`},
		{"sidecar.istio.io/userVolume", "{", "want a list of volumes"},
		{"sidecar.istio.io/userVolumeMount", `[{"name":"x"}]`, "want a list of mounts"},
		{"sidecar.istio.io/discoveryAddress", "pilot", "want HOST:PORT"},
		{"sidecar.istio.io/bootstrapOverride", "mine", "cannot be replaced"},
		{"status.sidecar.istio.io/port", "0", "want a port"},
		{"prometheus.io/port", "15020", "are the proxy's"},
		{"inject.istio.io/templates", "grpc-simple", "there are sidecar, gateway, grpc-agent"},
		{"inject.istio.io/templates", "sidecar,gateway", "not two of them"},
		{"inject.istio.io/templates", "grpc-agent,sidecar", "not two of them"},
		{"inject.istio.io/templates", "gateway", "no container named istio-proxy"},
		{"proxy.istio.io/config", "concurrency: [", "want a ProxyConfig in YAML"},
		{"proxy.istio.io/config", "concurency: 1", "concurency"},
		{"proxy.istio.io/config", "concurrency: -1", "concurrency"},
		{"proxy.istio.io/config", "interceptionMode: TPROXY", "interceptionMode"},
		{"proxy.istio.io/config", "terminationDrainDuration: 0s", "terminationDrainDuration"},
		{"proxy.istio.io/config", "statusPort: 70000", "statusPort"},
		{"proxy.istio.io/config", "discoveryAddress: pilot", "discoveryAddress"},
		{"proxy.istio.io/config", "proxyMetadata: {POD_NAME: other}", "proxyMetadata.POD_NAME"},
		{"proxy.istio.io/config", `proxyMetadata: {ISTIO_META_DNS_CAPTURE: "maybe"}`, "ISTIO_META_DNS_CAPTURE"},
		{"proxy.istio.io/config", `proxyMetadata: {SECRET_TTL: "soon"}`, "SECRET_TTL"},
		{"proxy.istio.io/config", `proxyMetadata: {WEFT_MESH_SAMPLES: "-1"}`, "WEFT_MESH_SAMPLES"},
		{"proxy.istio.io/config", `proxyMetadata: {WEFT_APP_SAMPLES: "all"}`, "WEFT_APP_SAMPLES"},
		{"proxy.istio.io/config", "caCertificatesPem: [x]", "caCertificatesPem"},
		{"proxy.istio.io/config", "image: {imageType: debug}", "image.imageType"},
		{"proxy.istio.io/config", "proxyStatsMatcher: {inclusionRegexps: [\"(\"]}", "proxyStatsMatcher.inclusionRegexps[0]"},
		{"proxy.istio.io/config", "fileFlushInterval: 0s", "fileFlushInterval"},
		{"sidecar.istio.io/statsInclusionRegexps", "a, (", "proxyStatsMatcher.inclusionRegexps[1]"},
		{"proxy.istio.io/overrides", "{", "better leave it out"},
		{"proxy.istio.io/overrides", `{"containers":[{"name":"app"}]}`, `container "app"`},
		{"sidecar.istio.io/status", "injected", "it is the injector's own"},
	} {
		annotations := map[string]string{c.name: c.value}
		if c.name == "prometheus.io/port" {
			annotations["prometheus.io/scrape"] = "true"
		}
		_, err := Inject(podWith(annotations), Values{NativeSidecars: true})
		if err == nil || !strings.Contains(err.Error(), c.name) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q: %v", c.name, c.value, err)
		}
	}
}

// TestStatsAnnotation is blamed for the list that it sets, and for no other.
func TestStatsAnnotation(t *testing.T) {
	_, err := Inject(podWith(map[string]string{
		configAnnotation: "fileFlushInterval: 0s", "sidecar.istio.io/statsInclusionPrefixes": "a",
	}), Values{NativeSidecars: true})
	if err == nil || strings.Contains(err.Error(), "statsInclusionPrefixes") {
		t.Error(err)
	}
}

// TestProxyConfigDollars: Kubernetes makes $ of $$, and reads $(NAME).
func TestProxyConfigDollars(t *testing.T) {
	pod, err := Inject(podWith(map[string]string{configAnnotation: "proxyStatsMatcher: {inclusionRegexps: [\"a$(POD_NAME)$$\"]}"}), Values{NativeSidecars: true})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(pod)
	if want := `a$$(POD_NAME)$$$$`; err != nil || !strings.Contains(string(raw), want) {
		t.Errorf("the pod has no %s: %v", want, err)
	}
}

// TestRefusedPods could not run in the mesh.
func TestRefusedPods(t *testing.T) {
	uid := int64(1337)
	for want, change := range map[string]func(*corev1.Pod){
		"spec.hostNetwork":               func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"spec.securityContext.runAsUser": func(p *corev1.Pod) { p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &uid} },
		"container app.securityContext": func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: &uid}
		},
	} {
		p := podWith(nil)
		change(p)
		if _, err := Inject(p, Values{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	_, err := Inject(podWith(map[string]string{"sidecar.istio.io/nativeSidecar": "true"}), Values{})
	if err == nil || !strings.Contains(err.Error(), "1.29") {
		t.Errorf("a native sidecar on an old cluster: %v", err)
	}
	_, err = Inject(podWith(map[string]string{"sidecar.istio.io/proxyCPU": "2", "sidecar.istio.io/proxyCPULimit": "1"}), Values{})
	if err == nil || !strings.Contains(err.Error(), "above its limit") {
		t.Errorf("a request above its limit: %v", err)
	}
}

// TestParseConfigRefuses what would refuse every pod.
func TestParseConfigRefuses(t *testing.T) {
	for _, c := range []struct{ config, values, mesh, want string }{
		{"", "{", "", "key values"},
		{"", `{"global":{"proxy":{"excludeInboundPorts":"x"}}}`, "", "excludeInboundPorts"},
		{"", `{"global":{"proxy":{"logLevel":"loud"}}}`, "", "logLevel"},
		{"policy: sometimes", "", "", "want enabled or disabled"},
		{"polcy: enabled", "", "", "polcy"},
		{"templates: {sidecar: ''}", "", "", "built in"},
		{"templates: {a: '{{ .Values }}'}", "", "", "not evaluated"},
		{"templates: {a: 'spec: {container: []}'}", "", "", "container"},
		{"neverInjectSelector: [{matchExpressions: [{key: a, operator: Is}]}]", "", "", "neverInjectSelector[0]"},
		{"", "", "defaultConfig: {concurrency: -2}", "concurrency"},
		{"", "", "defaultConfig: [", "ConfigMap istio, key mesh"},
	} {
		if _, err := ParseConfig(c.config, c.values, c.mesh); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestDefaults hold for a cluster that says nothing.
func TestDefaults(t *testing.T) {
	v, err := ParseConfig("", "", "")
	if err != nil {
		t.Fatal(err)
	}
	v = v.WithDefaults()
	if v.image("proxy") != "localhost/weft/proxy:latest" || v.image("a/b:c") != "a/b:c" || v.image("other:2") != "localhost/weft/other:2" {
		t.Error("images are", v.image("proxy"), v.image("a/b:c"), v.image("other:2"))
	}
	if q := v.Global.Proxy.Resources.Requests[corev1.ResourceMemory]; q.Cmp(resource.MustParse("64Mi")) != 0 {
		t.Error("memory is", q.String())
	}
}
