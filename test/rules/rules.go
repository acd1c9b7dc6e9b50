// Package rules holds the house rules of CONTRIBUTING.md as functions over the
// repository's source, so that its tests can fail with file, line and cure.
//
// Inputs: the files that git knows or would add, parsed without types, and
// the import graph that `go list` gives. Output: findings. It may import only
// the standard library. What needs types or one package only is left to the
// linter (.golangci.yml).
package rules

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Limits of the house rules.
const (
	MaxFuncLines = 80
	MaxFileLines = 500
	MaxParams    = 5
)

// File is one Go source file, parsed with its comments.
type File struct {
	Path  string // relative to the repository's root, with slashes
	Lines int
	AST   *ast.File
	fset  *token.FileSet
}

// Test says whether the file is a _test.go file.
func (f File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Dir is the folder of the file, relative to the root; "." for the root.
func (f File) Dir() string { return filepath.ToSlash(filepath.Dir(f.Path)) }

// At is the position of a node as "path:line".
func (f File) At(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.Path, f.fset.Position(n.Pos()).Line)
}

// Tracked lists the paths under root that git tracks, relative to it. A file
// that is not committed yet is its author's own affair.
func Tracked(ctx context.Context, root string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files in %s: %w", root, err)
	}
	var paths []string
	for p := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(root, p)); err == nil { // not one removed in the work tree
			paths = append(paths, p)
		}
	}
	return paths, nil
}

// Parse reads the Go files among paths, leaving out generated ones.
func Parse(root string, paths []string) ([]File, error) {
	var files []File
	for _, p := range paths {
		if !strings.HasSuffix(p, ".go") {
			continue
		}
		src, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, p, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if !ast.IsGenerated(parsed) {
			files = append(files, File{Path: p, Lines: strings.Count(string(src), "\n"), AST: parsed, fset: fset})
		}
	}
	return files, nil
}

// Functions checks length and number of parameters of every function,
// literals included, and that none is an init.
func Functions(f File) (found []string) {
	ast.Inspect(f.AST, func(n ast.Node) bool {
		var body *ast.BlockStmt
		var typ *ast.FuncType
		name := literal
		switch fn := n.(type) {
		case *ast.FuncDecl:
			body, typ, name = fn.Body, fn.Type, fn.Name.Name
			if name == "init" && fn.Recv == nil {
				found = append(found, f.At(fn)+": init() hides work and order: do it where it is needed, or in a var")
			}
		case *ast.FuncLit:
			body, typ = fn.Body, fn.Type
		default:
			return true
		}
		if body != nil {
			if lines := f.fset.Position(body.End()).Line - f.fset.Position(n.Pos()).Line + 1; lines > MaxFuncLines {
				found = append(found, fmt.Sprintf("%s: %s has %d lines, at most %d: split it", f.At(n), name, lines, MaxFuncLines))
			}
		}
		if params := parameters(typ); params > MaxParams && (!f.Test() || name != literal) { // a fuzz target has as many as its corpus
			found = append(found, fmt.Sprintf("%s: %s has %d parameters, at most %d: name them in a struct", f.At(n), name, params, MaxParams))
		}
		return true
	})
	return found
}

// literal stands for the name of a function that has none.
const literal = "function literal"

// parameters counts those of a function; a format and its arguments are one
// message and count as one.
func parameters(typ *ast.FuncType) int {
	n := typ.Params.NumFields()
	if fields := typ.Params.List; len(fields) >= 2 {
		_, variadic := fields[len(fields)-1].Type.(*ast.Ellipsis)
		names := fields[len(fields)-2].Names
		if variadic && len(names) > 0 && names[len(names)-1].Name == "format" {
			n--
		}
	}
	return n
}

// FileLength checks the number of lines.
func FileLength(f File) []string {
	if f.Lines <= MaxFileLines {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d lines, at most %d: split it by subject", f.Path, f.Lines, MaxFileLines)}
}

var emptyNames = regexp.MustCompile(`^(utils?|helpers?|common|misc|shared|lib)$`)

// PackageName refuses names that say nothing of what is inside.
func PackageName(f File) []string {
	if name := strings.TrimSuffix(f.AST.Name.Name, "_test"); emptyNames.MatchString(name) || emptyNames.MatchString(filepath.Base(f.Dir())) {
		return []string{fmt.Sprintf("%s: package %s: name it after what it is about", f.Path, name)}
	}
	return nil
}

// Sleeps refuses time.Sleep in tests.
func Sleeps(f File) (found []string) {
	if !f.Test() && !strings.HasPrefix(f.Path, "test/") {
		return nil
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
				found = append(found, f.At(n)+": time.Sleep in a test: wait on a condition with a deadline")
			}
		}
		return true
	})
	return found
}

// Documented checks that exported names outside of tests and mains have a doc
// comment: functions, methods of exported types, types, and each group of
// constants and variables.
func Documented(f File) (found []string) {
	if f.Test() || f.AST.Name.Name == "main" {
		return nil
	}
	missing := func(n ast.Node, name string) {
		found = append(found, fmt.Sprintf("%s: exported %s has no comment: say shape, unit, zero value, errors, source", f.At(n), name))
	}
	for _, decl := range f.AST.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !conventional(d) {
				missing(d, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if name, ok := undocumented(d, spec); ok {
					missing(spec, name)
				}
			}
		}
	}
	return found
}

func undocumented(d *ast.GenDecl, spec ast.Spec) (string, bool) {
	if d.Doc != nil {
		return "", false
	}
	switch s := spec.(type) {
	case *ast.TypeSpec:
		return s.Name.Name, s.Doc == nil && s.Name.IsExported()
	case *ast.ValueSpec:
		return s.Names[0].Name, s.Doc == nil && s.Comment == nil && s.Names[0].IsExported()
	}
	return "", false
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return false
		}
	}
}

// conventional methods are documented by the interface they implement.
func conventional(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	switch d.Name.Name {
	case "String", "Error", "Unwrap", "Len", "Less", "Swap", "LogValue", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText":
		return true
	}
	return false
}

// PackageDocs checks that each folder's package is documented in exactly one
// file. Folders that hold tests only need none.
func PackageDocs(files []File) (found []string) {
	docs, first := map[string]int{}, map[string]string{}
	for _, f := range files {
		if f.Test() {
			continue
		}
		if _, seen := first[f.Dir()]; !seen {
			first[f.Dir()] = f.Path
		}
		if f.AST.Doc != nil {
			docs[f.Dir()]++
		}
	}
	for dir, path := range first {
		if docs[dir] != 1 {
			found = append(found, fmt.Sprintf("%s: %d package comments in %s, want one: purpose, inputs, outputs, what it may not import", path, docs[dir], dir))
		}
	}
	return found
}
