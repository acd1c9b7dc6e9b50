package rules

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/repository"
)

func tracked(t *testing.T) (root string, paths []string) {
	t.Helper()
	root, err := repository.Root()
	if err != nil {
		t.Fatal(err)
	}
	if paths, err = Tracked(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	return root, paths
}

func report(t *testing.T, found []string) {
	t.Helper()
	slices.Sort(found)
	for _, f := range found {
		t.Error(f)
	}
}

func TestSource(t *testing.T) {
	root, paths := tracked(t)
	files, err := Parse(root, paths)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go file: is this the repository?")
	}
	for name, rule := range map[string]func(File) []string{
		"functions": Functions, "file length": FileLength, "package name": PackageName, "sleeps": Sleeps, "documented": Documented,
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range files {
				report(t, rule(f))
			}
		})
	}
	t.Run("package docs", func(t *testing.T) { report(t, PackageDocs(files)) })
}

func TestImports(t *testing.T) {
	root, _ := tracked(t)
	packages, err := List(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for name, rule := range map[string]func(Package) []string{"gates": DirectImports, "closure": Closure, "direction": Direction} {
		t.Run(name, func(t *testing.T) {
			for _, p := range packages {
				report(t, rule(p))
			}
		})
	}
}

// machinePath is a path of one person's or one machine's own: it works nowhere
// else, and may give away more than it should.
var machinePath = regexp.MustCompile(`(^|[^.\w])/(home/\w|work/|farm/|Users/|root/\.)`)

// unfinished are the words by which work is put off: an issue holds it better.
var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b|not implemented`)

func TestLines(t *testing.T) {
	root, paths := tracked(t)
	for _, p := range paths {
		if p == "test/rules/rules_test.go" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, p))
		if err != nil || bytes.IndexByte(content, 0) >= 0 {
			continue // a link to a folder, or not text
		}
		for i, line := range strings.Split(string(content), "\n") {
			if machinePath.MatchString(line) {
				t.Errorf("%s:%d: a path of one machine: %s", p, i+1, strings.TrimSpace(line))
			}
			if strings.HasSuffix(p, ".go") && !strings.HasSuffix(p, ".pb.go") && unfinished.MatchString(line) {
				t.Errorf("%s:%d: left to do: %s", p, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// TestRulesFind holds the rules themselves: each must find what it is for.
func TestRulesFind(t *testing.T) {
	dir := t.TempDir()
	write := func(name, src string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("utils/a.go", "package utils\n\nfunc init() {}\n\nfunc Six(a, b, c, d, e, f int) {}\n\nfunc long() {\n"+strings.Repeat("\t_ = 1\n", 80)+"}\n\ntype T struct{}\n"+strings.Repeat("\n", 420))
	write("x/a_test.go", "package x\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n")
	files, err := Parse(dir, []string{"utils/a.go", "x/a_test.go"})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		found = slices.Concat(found, Functions(f), FileLength(f), PackageName(f), Sleeps(f), Documented(f))
	}
	found = append(found, PackageDocs(files)...)
	all := strings.Join(found, "\n")
	for _, want := range []string{
		"a.go:3: init()", "a.go:5: Six has 6", "a.go:7: long has 82", "utils/a.go: 5", "package utils", "a_test.go:5: time.Sleep",
		"exported Six", "exported T", "0 package comments in utils",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no finding %q in:\n%s", want, all)
		}
	}
}

func TestImportRulesFind(t *testing.T) {
	for name, tc := range map[string]struct {
		rule func(Package) []string
		pkg  Package
		want string
	}{
		"gate":       {DirectImports, Package{ImportPath: Module + "/ca", Imports: []string{"github.com/smallstep/certificates/cas"}}, "only ca/internal/issue"},
		"test gate":  {DirectImports, Package{ImportPath: Module + "/internal/config", TestImports: []string{"github.com/envoyproxy/go-control-plane/envoy/config/core/v3"}}, "imports github.com/envoyproxy"},
		"closure":    {Closure, Package{ImportPath: Module + "/cmd/agent", Deps: []string{"k8s.io/client-go/rest"}}, "links k8s.io/client-go/rest"},
		"component":  {Direction, Package{ImportPath: Module + "/pilot/internal/xds", Imports: []string{Module + "/ca"}}, "only at the doors"},
		"test":       {Direction, Package{ImportPath: Module + "/pilot", Imports: []string{Module + "/test/envoy"}}, "nothing may import"},
		"bottom":     {Direction, Package{ImportPath: Module + "/internal/model", Imports: []string{Module + "/internal/config"}}, "at the bottom"},
		"model only": {Closure, Package{ImportPath: Module + "/internal/model", Imports: []string{"github.com/x/y"}}, "may import only"},
	} {
		t.Run(name, func(t *testing.T) {
			if all := strings.Join(tc.rule(tc.pkg), "\n"); !strings.Contains(all, tc.want) {
				t.Errorf("got %q, want %q", all, tc.want)
			}
		})
	}
	fine := Package{ImportPath: Module + "/pilot", Imports: []string{Module + "/gateway", "fmt"}, Deps: []string{"fmt"}}
	if found := slices.Concat(DirectImports(fine), Closure(fine), Direction(fine)); len(found) != 0 {
		t.Errorf("found %v in a package that keeps the rules", found)
	}
}
