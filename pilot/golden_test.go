package pilot_test

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

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/envoy"
	"github.com/weftmesh/weft/test/golden"
)

var update = flag.Bool("update", false, "rewrite want/, want-delta.txt and diagnostics.txt of testdata")

// TestGolden runs every behaviour of testdata: see package golden for the
// format. The calls are made in the simulator and in a real Envoy.
func TestGolden(t *testing.T) {
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
			t.Parallel()
			f, err := golden.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			c := behaviour{File: f, binary: binary}
			if _, push := f.Get("before.yaml"); push {
				c.push(t)
			} else {
				c.run(t)
			}
			if err := f.Save(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// behaviour is one file of testdata.
type behaviour struct {
	*golden.File
	binary string // Envoy's
}

// world is the folder that every case stands in, unless it says otherwise: the
// services of testdata/world.yaml.
func (b behaviour) world(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("testdata/world.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func (b behaviour) set(t *testing.T, part string) (config.Set, []diag.Diagnostic) {
	t.Helper()
	content, ok := b.Get(part)
	if !ok {
		t.Fatalf("it has no %s", part)
	}
	objects, found := config.Decode(part, []byte(content))
	world, wrong := config.Decode("world.yaml", []byte(b.world(t)))
	if len(wrong) > 0 {
		t.Fatalf("testdata/world.yaml: %v", wrong)
	}
	set := config.Set{}
	for _, o := range slices.Concat(world, objects) {
		set = set.With(o)
	}
	return b.withKeys(t, set), found
}

// withKeys adds what was fetched, by the name of its source, as keys.yaml says.
func (b behaviour) withKeys(t *testing.T, set config.Set) config.Set {
	t.Helper()
	content, _ := b.Get("keys.yaml")
	var fetched map[string]*config.Keys
	if err := yaml.UnmarshalStrict([]byte(content), &fetched); err != nil {
		t.Fatalf("keys.yaml: %v", err)
	}
	for name, keys := range fetched {
		set = set.With(&config.Object{Kind: config.KeySet, Name: name, Spec: keys})
	}
	return set
}

// proxy reads proxy.yaml; its zero value is a sidecar in namespace default.
func (b behaviour) proxy(t *testing.T) (p model.Proxy, listener string) {
	t.Helper()
	content, _ := b.Get("proxy.yaml")
	var in struct {
		Role           string            `json:"role"`
		Name           string            `json:"name"`
		Namespace      string            `json:"namespace"`
		ServiceAccount string            `json:"serviceAccount"`
		Labels         map[string]string `json:"labels"`
		Metadata       map[string]string `json:"metadata"`
		Addresses      []string          `json:"addresses"`
		Unproven       bool              `json:"unproven"`
	}
	if err := yaml.UnmarshalStrict([]byte(content), &in); err != nil {
		t.Fatalf("proxy.yaml: %v", err)
	}
	p = model.Proxy{
		Sidecar: in.Role != "router", Name: in.Name, Namespace: in.Namespace, ServiceAccount: in.ServiceAccount, Labels: in.Labels, Metadata: in.Metadata,
		Addresses: in.Addresses, Proven: !in.Unproven,
	}
	if p.Namespace == "" {
		p.Namespace = "default"
	}
	switch in.Role {
	case "", "sidecar":
		return p, "virtualOutbound"
	case "router":
		return p, ""
	}
	t.Fatalf("proxy.yaml: role is sidecar or router, not %q", in.Role)
	return p, ""
}

// resources are what the proxy gets of a set, as Envoy is served them.
func resources(set config.Set, p model.Proxy) (out []*discovery.Resource) {
	for _, r := range pilot.Translate(set, p) {
		out = append(out, &discovery.Resource{Name: r.Name, Version: r.Version, Resource: &anypb.Any{TypeUrl: r.Type, Value: r.Body}})
	}
	return out
}

func (b behaviour) run(t *testing.T) {
	set, form := b.set(t, "config.yaml")
	p, listener := b.proxy(t)
	all := resources(set, p)
	b.expect(t, "diagnostics.txt", report(append(form, pilot.Check(set)...)))
	for _, part := range b.Parts("want/") {
		content, _ := b.Get(part)
		found, err := golden.Select(content, all)
		if err != nil {
			t.Errorf("%s: %v", part, err)
			continue
		}
		b.expect(t, part, found)
	}
	content, _ := b.Get("calls.yaml")
	calls, err := golden.Calls(content)
	if err != nil {
		t.Fatal(err)
	}
	b.replay(t, calls, golden.Resolver{Listener: listener}, all, p)
}

func (b behaviour) replay(t *testing.T, calls []golden.Call, r golden.Resolver, all []*discovery.Resource, p model.Proxy) {
	simulated, err := simulate.New(all)
	if err != nil {
		t.Fatal(err)
	}
	simulated.Stand(place(p))
	if r.Address, err = golden.Lookup(all, p.Namespace); err != nil {
		t.Fatal(err)
	}
	proxy, err := envoy.Start(t.Context(), envoy.Options{Binary: b.binary, Resources: all, Place: place(p)})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	for _, problem := range golden.Check(t.Context(), calls, r, simulated, proxy) {
		t.Error(problem)
	}
}

// place is where proxy.yaml says that the proxy is.
func place(p model.Proxy) string { return model.ParseLocality(p.Labels[model.LabelLocality]).String() }

// push compares what a proxy gets before and after an edit.
func (b behaviour) push(t *testing.T) {
	before, _ := b.set(t, "before.yaml")
	after, _ := b.set(t, "after.yaml")
	p, _ := b.proxy(t)
	b.expect(t, "want-delta.txt", golden.Delta(resources(before, p), resources(after, p)))
}

func (b behaviour) expect(t *testing.T, part, found string) {
	t.Helper()
	if diff := b.Expect(part, found, *update); diff != "" {
		t.Error(diff)
	}
}

// report is one line for each diagnostic of the case's own objects.
func report(all []diag.Diagnostic) string {
	diag.Sort(all)
	var out strings.Builder
	for _, d := range all {
		fmt.Fprintln(&out, d)
	}
	return out.String()
}
