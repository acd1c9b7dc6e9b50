package controller

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/config"
)

const proxySettings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: weft-system}
data: {mesh: "defaultConfig: {concurrency: 2, proxyMetadata: {MESH: mesh, OWN: mesh}, runtimeValues: {x: '1'}}"}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: shop, namespace: shop}
spec: {concurrency: 3}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, environmentVariables: {OWN: web, POD_NAME: forged}}
`

// The proxies of a local mesh have what ProxyConfigs say, of the mesh, the
// namespace and the workload.
func TestProxyConfig(t *testing.T) {
	objects, wrong := config.Decode("proxy.yaml", []byte(proxySettings))
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	set := config.Set{}
	for _, o := range objects {
		set = set.With(o)
	}
	for _, c := range []struct {
		namespace, app, annotation, arg string
		env                             []string
	}{
		{"shop", "own", "concurrency: 4\nruntimeValues: {z: '2'}\nstatsdUdpAddress: 10.0.0.1:8125\nproxyMetadata: {OWN: pod}", "--concurrency=4",
			[]string{"OWN=pod", "MESH=mesh", `PROXY_CONFIG={"statsdUdpAddress":"10.0.0.1:8125","runtimeValues":{"x":"1","z":"2"}}`}},
		{"shop", "own", "terminationDrainDuration: 7s", "--drain-duration=7s", nil},
		{"shop", "own", "terminationDrainDuration: 70s", "--drain-duration=30s", nil},
		{"shop", "web", "proxyMetadata: {OWN: pod}", "--drain-duration=15s", []string{"OWN=web"}},
		{"shop", "web", "", "--concurrency=3", []string{"MESH=mesh", "OWN=web", "POD_NAME=web", `PROXY_CONFIG={"runtimeValues":{"x":"1"}}`}},
		{"shop", "other", "", "--concurrency=3", []string{"MESH=mesh", "OWN=mesh"}},
		{"default", "web", "", "--concurrency=2", []string{"OWN=mesh"}},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: c.app, Namespace: c.namespace, Labels: map[string]string{"app": c.app}, Annotations: map[string]string{config.ProxyAnnotation: c.annotation}}}
		got := proxy(p, roleApp, surroundings{set: set})
		if !slices.Contains(got.Argv, c.arg) {
			t.Errorf("%s/%s: %v lacks %s", c.namespace, c.app, got.Argv, c.arg)
		}
		for _, e := range c.env {
			if !slices.Contains(got.Env, e) {
				t.Errorf("%s/%s: %v lacks %s", c.namespace, c.app, got.Env, e)
			}
		}
		if slices.Contains(got.Env, "POD_NAME=forged") {
			t.Errorf("%s/%s: a ProxyConfig says who the pod is", c.namespace, c.app)
		}
	}
	if got := proxy(&corev1.Pod{}, roleApp, surroundings{}); !slices.Contains(got.Argv, "--concurrency=1") {
		t.Errorf("by default: %v", got.Argv)
	}
}

// A pod that would choose whom it trusts, or whose annotation nobody can read, does
// not start, as in a cluster.
func TestProxyConfigRefused(t *testing.T) {
	for annotation, want := range map[string]string{"caCertificatesPem: [x]": "caCertificatesPem", "nosuch: 1": "nosuch", "[": "proxy.istio.io/config"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Annotations: map[string]string{config.ProxyAnnotation: annotation, statusAnnotation: "{}"}}}
		if _, err := podSpec(p, roleApp, nil, surroundings{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", annotation, err)
		}
	}
}
