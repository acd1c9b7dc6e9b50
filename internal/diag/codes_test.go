package diag_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/diagnostics.md")

// code is one finding as the source declares it.
type code struct{ code, severity, meaning, cure string }

// declared reads the findings of all packages from their source.
func declared(t *testing.T) (out []code) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, d := range parsed.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				out = append(out, findings(g)...)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(out, func(a, b code) int { return strings.Compare(a.code, b.code) })
	return out
}

func findings(g *ast.GenDecl) (out []code) {
	for _, spec := range g.Specs {
		v, ok := spec.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			continue
		}
		lit, ok := v.Values[0].(*ast.CompositeLit)
		if !ok || !isFinding(lit.Type) {
			continue
		}
		comment := v.Doc.Text()
		if comment == "" {
			comment = g.Doc.Text()
		}
		out = append(out, read(lit, meaning(v.Names[0].Name, comment)))
	}
	return out
}

func isFinding(e ast.Expr) bool {
	if s, ok := e.(*ast.SelectorExpr); ok {
		e = s.Sel
	}
	name, ok := e.(*ast.Ident)
	return ok && name.Name == "Finding"
}

// meaning is the comment without the name that it begins with.
func meaning(name, comment string) string {
	text := strings.Join(strings.Fields(strings.TrimPrefix(comment, name)), " ")
	return strings.TrimPrefix(strings.TrimSuffix(strings.TrimLeft(text, ": "), "."), "is ")
}

func read(lit *ast.CompositeLit, meaning string) code {
	out := code{severity: "error", meaning: meaning}
	for i, e := range lit.Elts {
		field := []string{"Code", "Severity", "Cure"}[i]
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			field, e = kv.Key.(*ast.Ident).Name, kv.Value
		}
		switch field {
		case "Severity":
			if s, ok := e.(*ast.SelectorExpr); ok {
				e = s.Sel
			}
			out.severity = strings.ToLower(e.(*ast.Ident).Name)
		case "Code":
			out.code, _ = strconv.Unquote(e.(*ast.BasicLit).Value)
		case "Cure":
			out.cure, _ = strconv.Unquote(e.(*ast.BasicLit).Value)
		}
	}
	return out
}

const page = `# What findings mean

` + "`weft analyze`" + `, ` + "`weft up`" + `, the webhook and an object's status say the same findings, each with a stable code. An IST code is
Istio's, with Istio's meaning; a WEFT code is ours: 00xx form, 01xx meaning, 02xx what Envoy would refuse, 03xx
conversions. A finding names the object, its file and line, the field, and what to do.

error: a part of the object is not in force. warning: in force, but likely not as meant. info: worth knowing.

| code | | what | what to do |
|---|---|---|---|
`

// Every code has one meaning, and docs/diagnostics.md has them all (written
// from the source: go test ./internal/diag -args -update).
func TestEveryCodeIsDocumented(t *testing.T) {
	var text strings.Builder
	text.WriteString(page)
	seen := map[string]bool{}
	for _, c := range declared(t) {
		if seen[c.code] {
			t.Errorf("%s has two meanings", c.code)
		}
		seen[c.code] = true
		if c.meaning == "" || c.cure == "" {
			t.Errorf("%s: no comment says what it means, or no cure", c.code)
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", c.code, c.severity, cell(c.meaning), cell(c.cure))
	}
	if len(seen) < 20 {
		t.Errorf("only %d codes were found in the source", len(seen))
	}
	file := "../../docs/diagnostics.md"
	if *update {
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != text.String() {
		t.Errorf("docs/diagnostics.md is not what the source says (%v): go test ./internal/diag -args -update", err)
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
