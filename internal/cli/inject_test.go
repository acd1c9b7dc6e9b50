package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const untouched = `# A comment, and odd   spacing: kept.
apiVersion: v1
kind: Service
metadata: {name:   web}
`

const workloads = untouched + `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  fieldOfTheFuture: 1
  template:
    metadata: {labels: {app: web}}
    spec:
      alsoOfTheFuture: 2
      containers: [{name: web, image: "example/web:1"}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: job, image: "example/job:1"}]}}}}}
--- # not a separator on its own
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {containers: [{name: a}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: two, labels: {sidecar.istio.io/inject: "false"}}, spec: {containers: [{name: a}]}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: three}}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: a}]}
`

func TestInject(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app.yaml")
	text := strings.Replace(workloads, "--- # not a separator on its own", "---", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, said := run(t, "inject", "--offline", "-f", file)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	if !strings.HasPrefix(out, untouched+"---\n") {
		t.Errorf("a document without pods was changed:\n%.200s", out)
	}
	if !strings.HasSuffix(out, text[strings.LastIndex(text, "---"):]) {
		t.Error("a document that is not injected was changed")
	}
	docs := strings.Split(out, "---\n")
	for i, wants := range map[int][]string{
		1: {"fieldOfTheFuture: 1", "alsoOfTheFuture: 2", "name: istio-proxy", "value: web", "localhost/weft/proxy:v1.2.3"},
		2: {"name: istio-init", "value: nightly"},
		3: {"name: istio-proxy", "value: one", "name: three"},
	} {
		for _, want := range wants {
			if !strings.Contains(docs[i], want) {
				t.Errorf("document %d has no %q:\n%s", i+1, want, docs[i])
			}
		}
		var any map[string]any
		if err := yaml.Unmarshal([]byte(docs[i]), &any); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(docs[2], "name: nightly\n      spec") || strings.Count(docs[3], "name: istio-proxy") != 1 {
		t.Errorf("what is no part of injection was changed:\n%s\n%s", docs[2], docs[3])
	}
	for _, want := range []string{"Pod two is left as it is: sidecar.istio.io/inject", "Pod host is left as it is: it uses the node's network"} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing says %q: %s", want, said)
		}
	}
	// What was injected already comes out the same.
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, again, _ := run(t, "inject", "--offline", "-f", file); again != out {
		t.Error("injected again, it differs")
	}
}

func TestInjectRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app.yaml")
	for text, want := range map[string]string{
		"a: [":                                  "document 1",
		"apiVersion: apps/v1\nkind: Deployment": "it has no spec.template",
		"apiVersion: v1\nkind: Pod\nspec: [1]":  "Pod",
		"apiVersion: v1\nkind: Pod\nmetadata: {annotations: {sidecar.istio.io/proxyCPU: x}}": "proxyCPU",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, said := run(t, "inject", "--offline", "-f", file); code != 1 || !strings.Contains(said, want) {
			t.Errorf("%s: exit code %d, %s", text, code, said)
		}
	}
	for _, args := range [][]string{{"inject"}, {"inject", "-f", file, "--values", file}} {
		if code, _, said := run(t, args...); code != 2 {
			t.Errorf("%v: exit code %d, %s", args, code, said)
		}
	}
}
