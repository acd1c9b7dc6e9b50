package config

import (
	"os"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
)

func one(t *testing.T, text string) *Object {
	t.Helper()
	objects, found := Decode("a.yaml", []byte(text))
	if len(found) > 0 || len(objects) != 1 {
		t.Fatalf("got %d objects, findings %v", len(objects), found)
	}
	return objects[0]
}

func TestDecodeVirtualService(t *testing.T) {
	o := one(t, `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, creationTimestamp: "2026-01-02T03:04:05Z"}
spec:
  hosts: [reviews]
  http:
  - timeout: 1h
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
`)
	vs, ok := o.Spec.(*networking.VirtualService)
	if !ok || o.Key() != "default/reviews" || o.Line != 2 || o.Created.Year() != 2026 {
		t.Fatalf("got %+v", o)
	}
	if vs.Http[0].Timeout.AsDuration().Hours() != 1 || vs.Http[0].Route[0].Weight != 90 {
		t.Fatalf("got %v", vs)
	}
}

func TestDecodeSeveralAndList(t *testing.T) {
	objects, found := Decode("a.yaml", []byte(`apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a, namespace: x}, spec: {clusterIP: 10.0.0.1}}
- {apiVersion: v1, kind: Namespace, metadata: {name: x}}
---
# nothing
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    trustDomain: example.org
`))
	if len(found) > 0 || len(objects) != 4 {
		t.Fatalf("got %v, %v", objects, found)
	}
	if objects[0].Spec.(*corev1.Service).Spec.ClusterIP != "10.0.0.1" || objects[1].Key() != "/x" || objects[3].Kind != MeshConfig || objects[2].Line != 9 {
		t.Fatalf("got %+v %+v %+v", objects[0], objects[2], objects[3])
	}
}

func TestDecodeProblemsHaveALine(t *testing.T) {
	const vs = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n"
	for name, c := range map[string]struct {
		text, path, message string
		line                int
	}{
		"syntax":             {"a: b\n  c: [\n", "", "line 2", 2},
		"duplicate key":      {"kind: A\nkind: B\n", "", "already", 2},
		"unknown kind":       {"apiVersion: networking.istio.io/v1\nkind: Foo\nmetadata: {name: a}\n", "kind", "unknown kind Foo", 2},
		"kind of kubernetes": {"apiVersion: v1\nkind: Servcie\nmetadata: {name: a}\n", "kind", "unknown kind Servcie", 2},
		"group mistyped":     {"apiVersion: networking.itsio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n", "kind", "unknown kind VirtualService", 2},
		"group of ours":      {"apiVersion: weft.mesh/v1\nkind: Foo\nmetadata: {name: a}\n", "kind", "unknown kind Foo", 2},
		"no name":            {"apiVersion: v1\nkind: Service\nmetadata: {}\n", "metadata", "metadata.name is empty", 3},
		"no kind":            {"a: 1\n", "", "kind and apiVersion must be set", 1},
		"not an object":      {"just text\n", "", "not a Kubernetes object", 1},
		"unknown field":      {vs + "  hosts: [a]\n  http:\n  - route: []\n    timeoutt: 1s\n", "spec.http[0].timeoutt", `unknown field "timeoutt" in HTTPRoute`, 8},
		"field beside spec":  {vs + "  hosts: [a]\nhosts: [b]\n", "hosts", `unknown field "hosts"`, 6},
		"wrong type":         {vs + "  hosts: {a: b}\n", "spec.hosts", "list is expected", 5},
		"unknown core field": {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  prots: []\n", "spec.prots", `unknown field "spec.prots"`, 5},
		"second document":    {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: x/v1\nkind: Yy\n", "kind", "unknown kind Yy", 6},
	} {
		t.Run(name, func(t *testing.T) {
			_, found := Decode("dir/a.yaml", []byte(c.text))
			if len(found) != 1 {
				t.Fatalf("got findings %v", found)
			}
			f := found[0]
			if f.Severity.String() != "error" || f.Path != c.path || f.Object.Line != c.line || f.Object.File != "dir/a.yaml" || !strings.Contains(f.Message, c.message) || f.Cure == "" {
				t.Fatalf("got %+v (%s)", f, f)
			}
		})
	}
}

func TestDecodeOtherKubernetesKindsIsInfo(t *testing.T) {
	objects, found := Decode("a.yaml", []byte("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\n"))
	if len(objects) != 0 || len(found) != 1 || found[0].Severity.String() != "info" {
		t.Fatalf("got %v, %v", objects, found)
	}
}

// A folder of a cluster holds objects of other programs too: they must not keep
// the rest from being applied.
func TestDecodeKindsOfOtherProgramsIsWarning(t *testing.T) {
	objects, found := Decode("a.yaml", []byte(`
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: a}
spec: {anything: [goes]}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: b}
spec: {template: {}}
---
apiVersion: v1
kind: Service
metadata: {name: c}
`))
	if len(objects) != 1 || objects[0].Name != "c" || len(found) != 2 {
		t.Fatalf("got %v, %v", objects, found)
	}
	for _, f := range found {
		if f.Severity.String() != "warning" || f.Path != "kind" {
			t.Errorf("got %s", f)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n- a\n"))
	f.Add([]byte("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [a], http: [{match: [{uri: {exact: /}}]}]}\n"))
	f.Add([]byte("kind: List\napiVersion: v1\nitems: [{kind: List, apiVersion: v1, items: [1, {}]}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, _ := Decode("f", data)
		for _, o := range objects {
			if o.Name == "" || o.Spec == nil {
				t.Fatalf("half an object: %+v", o)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	text, err := os.ReadFile("testdata/mix.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, found := Decode("mix.yaml", text); len(found) > 0 {
			b.Fatal(found)
		}
	}
}
