package ingress_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/gateway/ingress"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/envoy"
	"github.com/weftmesh/weft/test/golden"
)

var update = flag.Bool("update", false, "rewrite want.yaml, findings.txt and diagnostics.txt of testdata")

// TestConversions: each case has Ingresses, what they become (want.yaml), what
// is said of them (findings.txt), what Weft says of the result
// (diagnostics.txt), and calls whose outcomes an Ingress promises. The calls
// are made in the simulator and in a real Envoy.
func TestConversions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	binary, err := envoybin.Ensure(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			f, err := golden.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			conversion{f, binary}.run(t)
			if err := f.Save(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// world are the services of all cases.
func world(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/world.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// conversion is one file of testdata.
type conversion struct {
	*golden.File
	binary string // Envoy's
}

func (c conversion) run(t *testing.T) {
	in, _ := c.Get("ingress.yaml")
	got := ingress.Convert([]ingress.File{{Name: "world.yaml", Text: world(t)}, {Name: "ingress.yaml", Text: []byte(in)}}, ingress.Options{GatewayNamespace: "weft-system"})
	text := manifest(t, got)
	set, form := decode(t, world(t), text)
	c.expect(t, "findings.txt", lines(got.Findings))
	c.expect(t, "want.yaml", string(text))
	all := append(form, pilot.Check(set)...)
	c.expect(t, "diagnostics.txt", lines(slices.DeleteFunc(all, func(d diag.Diagnostic) bool { return d.Object.File == "world.yaml" })))
	c.calls(t, set)
}

func (c conversion) calls(t *testing.T, set config.Set) {
	text, _ := c.Get("calls.yaml")
	calls, err := golden.Calls(text)
	if err != nil {
		t.Fatal(err)
	}
	who, _ := c.Get("proxy.yaml")
	p := model.Proxy{Proven: true}
	if err := yaml.Unmarshal([]byte(who), &p); err != nil {
		t.Fatal(err)
	}
	var all []*discovery.Resource
	for _, r := range pilot.Translate(set, p) {
		all = append(all, &discovery.Resource{Name: r.Name, Version: r.Version, Resource: &anypb.Any{TypeUrl: r.Type, Value: r.Body}})
	}
	simulated, err := simulate.New(all)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := envoy.Start(t.Context(), envoy.Options{Binary: c.binary, Resources: all})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	for _, problem := range golden.Check(t.Context(), calls, golden.Resolver{}, simulated, proxy) {
		t.Error(problem)
	}
}

func (c conversion) expect(t *testing.T, part, found string) {
	t.Helper()
	if diff := c.Expect(part, found, *update); diff != "" {
		t.Error(diff)
	}
}

// manifest is the result as a user saves it.
func manifest(t testing.TB, r ingress.Result) []byte {
	t.Helper()
	var out strings.Builder
	for _, o := range r.Objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "---\n%s", text)
	}
	return []byte(out.String())
}

func decode(t testing.TB, texts ...[]byte) (set config.Set, found []diag.Diagnostic) {
	t.Helper()
	for i, text := range texts {
		name := "want.yaml"
		if i+1 < len(texts) {
			name = "world.yaml"
		}
		objects, wrong := config.Decode(name, text)
		found = append(found, wrong...)
		for _, o := range objects {
			set = set.With(o)
		}
	}
	return set, found
}

func lines(all []diag.Diagnostic) string {
	var out strings.Builder
	for _, d := range all {
		fmt.Fprintln(&out, d)
	}
	return out.String()
}

// errorsOf are the findings of severity Error.
func errorsOf(all []diag.Diagnostic) []diag.Diagnostic {
	return slices.DeleteFunc(slices.Clone(all), func(d diag.Diagnostic) bool { return d.Severity != diag.Error })
}
