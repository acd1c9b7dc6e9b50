package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// Module is the path of this repository's module.
const Module = "github.com/weftmesh/weft"

// Package is what the rules read of `go list -deps -json`.
type Package struct {
	ImportPath   string
	Standard     bool
	Imports      []string // of the non-test files
	TestImports  []string
	XTestImports []string
	Deps         []string // all imports, direct or not
}

// Rel is the package's folder in this module; "" when it is not of it.
func (p Package) Rel() string {
	rel, ok := strings.CutPrefix(p.ImportPath, Module+"/")
	if !ok {
		return ""
	}
	return rel
}

// List returns the packages of this module.
func List(ctx context.Context, root string) ([]Package, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-json=ImportPath,Standard,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", root, err)
	}
	var all []Package
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
	}
}

// Gate says which folders may import a foreign package directly.
type Gate struct {
	Prefix string   // of the import path
	Except []string // prefixes of import paths that this gate leaves to another
	Open   []string // folders of this module, with all below them
	Tests  []string // folders whose tests may, beside those of Open
}

// Gates are the doors of foreign packages, from the design.
var Gates = []Gate{
	{
		Prefix: "github.com/envoyproxy/go-control-plane",
		Open:   []string{"pilot/internal/translate", "pilot/internal/patch", "pilot/internal/xds", "pilot/internal/snapshot", "internal/simulate", "internal/agent", "test"},
		Tests:  []string{"pilot", "gateway"},
	},
	{
		Prefix: "istio.io/",
		Except: []string{"istio.io/api/security/v1alpha1"},
		// The local runtime reads Gateways: it publishes their ports on the host.
		Open: []string{"internal/config", "pilot/internal/compile", "gateway", "injector", "internal/local/controller", "test", "apis"},
	},
	{
		Prefix: "istio.io/api/security/v1alpha1",
		Open:   []string{"ca", "internal/agent", "internal/enroll", "internal/config", "pilot/internal/compile", "test"},
	},
	{
		Prefix: "k8s.io/client-go",
		Open:   []string{"internal/source/kube", "pilot/internal/status", "pilot/internal/webhook", "internal/admission", "internal/leader", "injector", "ca/internal/identity", "ca/internal/cluster", "install", "internal/cli", "test"},
		Tests:  []string{"ca", "cmd/ca"}, // they make pods and tokens on a real API server
	},
	{
		Prefix: "k8s.io/",
		Except: []string{"k8s.io/client-go"},
		Open: []string{"internal/config", "pilot/internal/compile", "gateway", "injector", "internal/source/kube", "pilot/internal/status",
			"pilot/internal/webhook", "internal/admission", "internal/leader", "ca/internal/identity", "ca/internal/cluster", "install", "internal/local", "internal/cli", "test"},
		Tests: []string{"internal/source", "ca", "cmd/ca"},
	},
	{Prefix: "github.com/smallstep/", Open: []string{"ca/internal/issue"}},
	{Prefix: "go.step.sm/", Open: []string{"ca/internal/issue"}},
	{Prefix: "github.com/chromedp/", Open: []string{"test"}},
	{Prefix: "github.com/sony/gobreaker", Open: []string{"internal/agent", "internal/enroll", "ca/internal/identity", "pilot"}},
}

// DirectImports checks the gates for the imports that p's own files have.
func DirectImports(p Package) (found []string) {
	for _, gate := range Gates {
		check := func(imports []string, open []string) {
			for _, imp := range imports {
				if gate.guards(imp) && !under(p.Rel(), open) {
					found = append(found, fmt.Sprintf("%s imports %s: only %s may", p.Rel(), imp, strings.Join(gate.Open, ", ")))
				}
			}
		}
		check(p.Imports, gate.Open)
		check(p.TestImports, slices.Concat(gate.Open, gate.Tests))
		check(p.XTestImports, slices.Concat(gate.Open, gate.Tests))
	}
	return found
}

func (g Gate) guards(imp string) bool {
	has := func(prefix string) bool { return strings.HasPrefix(imp, prefix) }
	return has(g.Prefix) && !slices.ContainsFunc(g.Except, has)
}

// under says whether folder is one of those in open, or inside one.
func under(folder string, open []string) bool {
	return slices.ContainsFunc(open, func(o string) bool { return folder == o || strings.HasPrefix(folder, o+"/") })
}

// Linked are packages that a binary or package must not even link, however
// long the chain of imports: what it depends on is in every pod, or is meant
// to be usable anywhere.
var Linked = map[string][]string{
	"cmd/agent":              {"k8s.io/", "istio.io/client-go", "github.com/smallstep/", "go.step.sm/", Module + "/pilot", Module + "/ca", Module + "/injector"},
	"cmd/pilot":              {"github.com/smallstep/", "go.step.sm/", Module + "/ca", Module + "/injector"},
	"cmd/ca":                 {Module + "/pilot", Module + "/injector", Module + "/gateway"},
	"cmd/injector":           {"github.com/smallstep/", "go.step.sm/", Module + "/ca", Module + "/pilot"},
	"internal/simulate":      {Module + "/", "istio.io/", "k8s.io/"},
	"internal/envoybin":      {Module + "/", "github.com/", "google.golang.org/"},
	"internal/memo":          {Module + "/", "github.com/", "google.golang.org/"},
	"internal/diag":          {"github.com/envoyproxy/", "istio.io/", "k8s.io/"},
	"internal/spiffe":        {"github.com/envoyproxy/", "istio.io/", "k8s.io/"},
	"pilot/internal/compile": {"github.com/envoyproxy/go-control-plane"},
}

// ModelMay is all that internal/model may import beside the standard library.
var ModelMay = []string{Module + "/internal/memo"}

// Closure checks Linked and ModelMay for p.
func Closure(p Package) (found []string) {
	for _, prefix := range Linked[p.Rel()] {
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep+"/", prefix) && dep != p.ImportPath && !strings.HasPrefix(dep, p.ImportPath+"/") {
				found = append(found, fmt.Sprintf("%s links %s (`go mod why -m` or `go list -deps` show the way)", p.Rel(), dep))
				break
			}
		}
	}
	if p.Rel() == "internal/model" {
		for _, imp := range p.Imports {
			if strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && !slices.Contains(ModelMay, imp) {
				found = append(found, fmt.Sprintf("internal/model imports %s: it may import only the standard library and %v", imp, ModelMay))
			}
		}
	}
	return found
}

// components are the parts that meet only at their doors, and doors the
// imports between them that the design allows.
var (
	components = []string{"pilot", "ca", "injector", "gateway", "install"}
	doors      = map[string][]string{
		"pilot":        {"gateway"},
		"internal/cli": {"pilot", "ca", "injector", "gateway", "install"},
	}
)

// Direction checks that imports go cmd -> components -> source, config ->
// model, diag, spiffe, memo, and that components meet only at doors.
func Direction(p Package) (found []string) {
	from := owner(p.Rel())
	for _, imp := range p.Imports {
		rel, ours := strings.CutPrefix(imp, Module+"/")
		if !ours {
			continue
		}
		to := owner(rel)
		switch {
		case strings.HasPrefix(rel, "cmd/") || under(rel, []string{"test", "samples"}) && !under(p.Rel(), []string{"test", "samples"}):
			found = append(found, fmt.Sprintf("%s imports %s: nothing may import commands, tests or samples", p.Rel(), rel))
		case slices.Contains(components, to) && !mayOpen(p.Rel(), from, to):
			found = append(found, fmt.Sprintf("%s imports %s: components meet only at the doors (%v)", p.Rel(), rel, doors))
		}
	}
	if base := []string{"internal/model", "internal/diag", "internal/spiffe", "internal/memo"}; slices.Contains(base, p.Rel()) {
		for _, imp := range p.Imports {
			if rel, ours := strings.CutPrefix(imp, Module+"/"); ours && !slices.Contains(base, rel) {
				found = append(found, fmt.Sprintf("%s imports %s: it is at the bottom", p.Rel(), rel))
			}
		}
	}
	return found
}

// owner is the component a folder belongs to: its first element, or two of
// them below internal.
func owner(rel string) string {
	parts := strings.Split(rel, "/")
	if parts[0] == "internal" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

func mayOpen(rel, from, to string) bool {
	return from == to || under(rel, []string{"cmd", "test", "samples"}) || slices.Contains(doors[from], to)
}
