package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/internal/config"
)

// TestMachineFolder: a shell reads start.sh, whatever is in a name, and only
// its owner reads the token.
func TestMachineFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	m := &joining{
		Entry: "legacy-1", Namespace: "shop", Account: "legacy", Address: "192.0.2.7", Group: "legacy", System: "weft-system",
		Labels: `{"app":"it's $(touch /tmp/x) ` + "`id`" + `"}`, Pilot: "192.0.2.1:15012", CA: "[2001:db8::1]:15012", token: "t", roots: []byte("r"),
	}
	for range 2 { // the second time in place of the first
		if err := m.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	script, err := os.ReadFile(filepath.Join(dir, "start.sh"))
	if err != nil {
		t.Fatal(err)
	}
	var export string
	for line := range strings.Lines(string(script)) {
		if strings.HasPrefix(line, "export ") {
			export += line
		}
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", export+`printf %s "$ISTIO_METAJSON_LABELS"`).CombinedOutput()
	if err != nil || string(out) != m.Labels {
		t.Errorf("a shell reads the labels as %s, %v; want %s", out, err, m.Labels)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-n", filepath.Join(dir, "start.sh")).CombinedOutput(); err != nil {
		t.Errorf("sh -n: %s%v", out, err)
	}
	for name, want := range map[string]os.FileMode{"token": 0o600, "start.sh": 0o755, "root-cert.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode().Perm(), err)
	}
}

// TestMachineProxy: the agent of a machine is told what MeshConfig, ProxyConfigs and the
// group's annotation say, and of proxyMetadata what it reads, and nothing by which a
// program finds others.
func TestMachineProxy(t *testing.T) {
	objects, wrong := config.Decode("proxy.yaml", []byte(`
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: weft-system}
data: {mesh: "defaultConfig: {statsdUdpAddress: 's:8125', proxyMetadata: {SECRET_TTL: 1h, PATH: /tmp, LD_PRELOAD: x, ISTIO_META_WORKLOAD_NAME: forged}}"}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: shop, namespace: shop}
spec: {concurrency: 3, environmentVariables: {ISTIO_META_ENABLE_SELF_DISCOVERY: "true"}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: other, namespace: other}
spec: {concurrency: 9}
`))
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	set := config.Set{}
	for _, o := range objects {
		set = set.With(o)
	}
	entry := &unstructured.Unstructured{Object: map[string]any{}}
	entry.SetAnnotations(map[string]string{config.ProxyAnnotation: "{terminationDrainDuration: 7s, runtimeValues: {x: \"it's $(id)\"}}"})
	m := &joining{Entry: "legacy-1", Namespace: "shop", token: "t"}
	if err := m.proxy(set, entry, "weft-system"); err != nil {
		t.Fatal(err)
	}
	want := []variable{{"PROXY_CONFIG", `{"statsdUdpAddress":"s:8125","runtimeValues":{"x":"it's $(id)"}}`}, {"ISTIO_META_ENABLE_SELF_DISCOVERY", "true"}, {"SECRET_TTL", "1h"}}
	if !slices.Equal(m.Variables, want) || !slices.Equal(m.Arguments, []string{"--concurrency=3", "--drain-duration=7s"}) {
		t.Errorf("%q, %q", m.Variables, m.Arguments)
	}
	script, err := m.script()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), startScript)
	if err := os.WriteFile(file, script, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-n", file).CombinedOutput(); err != nil || !strings.Contains(string(script), "'--concurrency=3' '--drain-duration=7s' &\n") {
		t.Errorf("%v: %s\n%s", err, out, script)
	}
	entry.SetAnnotations(map[string]string{config.ProxyAnnotation: "caCertificatesPem: [x]"})
	if err := m.proxy(set, entry, "weft-system"); err == nil || !strings.Contains(err.Error(), "caCertificatesPem") {
		t.Errorf("a group that chooses whom its machines trust: %v", err)
	}
}
