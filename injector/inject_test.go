package injector

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"

	weftconfig "github.com/weftmesh/weft/internal/config"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

var update = flag.Bool("update", false, "rewrite what the golden files want")

// parts of a golden file: pod.yaml is the input; values.json, config.yaml and
// mesh.yaml are the ConfigMaps' texts; proxyconfigs.yaml are the
// cluster's ProxyConfigs; old.txt means an API server without
// native sidecars. want.yaml or error.txt is what comes out, warnings.txt what
// is said.
type golden struct {
	archive *txtar.Archive
	path    string
}

func (g golden) text(name string) (string, bool) {
	for _, f := range g.archive.Files {
		if f.Name == name {
			return string(f.Data), true
		}
	}
	return "", false
}

func (g golden) want(t *testing.T, name, got string) {
	t.Helper()
	have, ok := g.text(name)
	if have == got {
		return
	}
	if !*update {
		t.Errorf("%s differs (-want +got; -update rewrites it):\n%s", name, cmp.Diff(have, got))
		return
	}
	if !ok {
		g.archive.Files = append(g.archive.Files, txtar.File{Name: name})
	}
	for i := range g.archive.Files {
		if g.archive.Files[i].Name == name {
			g.archive.Files[i].Data = []byte(got)
		}
	}
	if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func goldens(t testing.TB) map[string]golden {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no golden files", err)
	}
	out := map[string]golden{}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(path), ".txtar")] = golden{a, path}
	}
	return out
}

func (g golden) values(t testing.TB) Values {
	t.Helper()
	config, _ := g.text("config.yaml")
	values, _ := g.text("values.json")
	mesh, _ := g.text("mesh.yaml")
	v, err := ParseConfig(config, values, mesh)
	if err != nil {
		t.Fatal(err)
	}
	_, old := g.text("old.txt")
	v.NativeSidecars = !old
	if objects, ok := g.text("proxyconfigs.yaml"); ok {
		all, wrong := weftconfig.Decode("proxyconfigs.yaml", []byte(objects))
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
		v.ProxyConfigs = all
	}
	return v
}

func (g golden) pod(t testing.TB) *corev1.Pod {
	t.Helper()
	text, _ := g.text("pod.yaml")
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
		t.Fatal(err)
	}
	return &pod
}

func TestGolden(t *testing.T) {
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			v, pod := g.values(t), g.pod(t)
			kept := pod.DeepCopy()
			out, err := Inject(pod, v)
			if !equality.Semantic.DeepEqual(pod, kept) {
				t.Error("the argument was changed")
			}
			if err != nil {
				g.want(t, "error.txt", err.Error()+"\n")
				return
			}
			text, err := yaml.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			g.want(t, "want.yaml", string(text))
			if said := Warnings(pod); len(said) > 0 {
				g.want(t, "warnings.txt", strings.Join(said, "\n")+"\n")
			}
			testAgain(t, out, v)
			testPatch(t, pod, out, v)
		})
	}
}

// testAgain: a pod that passes the webhook twice is as one that passed it once.
func testAgain(t *testing.T, injected *corev1.Pod, v Values) {
	t.Helper()
	again, err := Inject(injected, v)
	if err != nil {
		t.Fatalf("injected again: %v", err)
	}
	if d := cmp.Diff(injected, again); d != "" {
		t.Errorf("injected again, it differs:\n%s", d)
	}
}

// testPatch: the API server comes to the same pod by the patch, and keeps what
// this build does not know.
func testPatch(t *testing.T, pod, want *corev1.Pod, v Values) {
	t.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	raw = bytes.Replace(raw, []byte(`"spec":{`), []byte(`"spec":{"fieldOfTheFuture":{"a":[1]},`), 1)
	raw = bytes.Replace(raw, []byte(`"resources":{},`), nil, -1)
	patch, err := Patch(raw, v)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := steps.Apply(raw)
	if err != nil {
		t.Fatalf("%v\n%s", err, patch)
	}
	if !bytes.Contains(patched, []byte(`"fieldOfTheFuture":{"a":[1]}`)) {
		t.Error("a field that is not known was lost")
	}
	var got corev1.Pod
	if err := json.Unmarshal(patched, &got); err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(&got, want) {
		t.Errorf("the patch gives another pod:\n%s\n%s", cmp.Diff(want, &got), patch)
	}
}

// The drain ends before the pod's time does, so that an app that is held for
// half of it has the rest for itself.
func TestDrainFitsThePodsTime(t *testing.T) {
	for _, c := range []struct {
		grace int64
		said  string // terminationDrainDuration
		want  string
	}{
		{30, "", ""},
		{10, "", "--drain-duration=10s"},
		{0, "", "--drain-duration=1s"},
		{60, "45s", "--drain-duration=45s"},
		{30, "300s", "--drain-duration=30s"},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &c.grace, Containers: []corev1.Container{{Name: "app", Image: "app"}}}}
		if c.said != "" {
			pod.Annotations = map[string]string{"proxy.istio.io/config": "terminationDrainDuration: " + c.said}
		}
		out, err := Inject(pod, Values{})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, container := range slices.Concat(out.Spec.InitContainers, out.Spec.Containers) {
			for _, arg := range container.Args {
				if strings.HasPrefix(arg, "--drain-duration=") {
					got = arg
				}
			}
		}
		if got != c.want {
			t.Errorf("%d s to end, drain %q: got %q, want %q", c.grace, c.said, got, c.want)
		}
	}
}
