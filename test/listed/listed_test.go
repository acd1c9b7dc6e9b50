package listed

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Every metric that some code makes is on the page, as what it is: else a component
// has one that its own test does not register.
func TestNoneIsLeftOut(t *testing.T) {
	root := Root(t)
	page, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, dir := range []string{"ca", "cmd", "gateway", "injector", "internal", "pilot"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for name, kind := range made(t, path) {
				found++
				if !regexp.MustCompile("[`_]" + name + "` \\| " + kind).Match(page) {
					t.Errorf("%s makes the %s %s, which docs/metrics.md does not list: register it in the test of its component", path, kind, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 40 {
		t.Errorf("found only %d metrics in the code", found)
	}
}

// made are the metrics of a file, and what each is: those of Name of ...Opts{}, and
// of NewDesc, of which it is not told.
func made(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	note := func(e ast.Expr, kind string) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				out[s] = kind
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			of, _ := n.Type.(*ast.SelectorExpr)
			kind, isOpts := strings.CutSuffix(inPrometheus(of), "Opts")
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok && isOpts && kv.Key.(*ast.Ident).Name == "Name" {
					note(kv.Value, strings.ToLower(kind))
				}
			}
		case *ast.CallExpr:
			if f, _ := n.Fun.(*ast.SelectorExpr); inPrometheus(f) == "NewDesc" {
				note(n.Args[0], "")
			}
		}
		return true
	})
	return out
}

// inPrometheus is what is named of that package; "": nothing.
func inPrometheus(s *ast.SelectorExpr) string {
	if s == nil {
		return ""
	}
	if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "prometheus" {
		return s.Sel.Name
	}
	return ""
}

func TestRowsOf(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: "a_total", Help: `what "it" is`, ConstLabels: prometheus.Labels{"z": `x", y="1`}}, []string{"l", "m"}),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_mine"}), prometheus.NewGauge(prometheus.GaugeOpts{Name: "b"}),
	)
	got := map[string]Row{}
	for _, r := range rowsOf(t, reg) {
		got[r.Name] = r
	}
	a, b := got["a_total"], got["b"]
	if len(got) != 2 || a.Type != "counter" || a.Help != `what "it" is` || strings.Join(a.Labels, " ") != "z l m" || b.Type != "gauge" || b.Help != "" {
		t.Errorf("%+v", got)
	}
}
