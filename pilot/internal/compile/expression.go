package compile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/parser"

	"github.com/weftmesh/weft/internal/diag"
)

// Bounds of a CEL expression: every request of every proxy evaluates it.
const (
	maxExpression = 4096 // bytes
	maxNesting    = 32
)

// celFunctions are the functions that Envoy 1.40 was seen to have (envoy --mode
// validate, one by one), by how many arguments they take, the one before the
// dot included. It has no comprehensions ("all", "map"), no string() and none
// of CEL's libraries; one such expression makes it refuse the whole listener.
var celFunctions = map[string][]int{
	"size": {1}, "contains": {2}, "startsWith": {2}, "endsWith": {2}, "matches": {2},
	"timestamp": {1}, "duration": {1}, "int": {1}, "uint": {1}, "double": {1}, "bool": {1}, "bytes": {1}, "type": {1}, "dyn": {1},
	"getFullYear": {1, 2}, "getMonth": {1, 2}, "getDate": {1, 2}, "getDayOfMonth": {1, 2}, "getDayOfWeek": {1, 2}, "getDayOfYear": {1, 2},
	"getHours": {1, 2}, "getMinutes": {1, 2}, "getSeconds": {1, 2}, "getMilliseconds": {1, 2},
	"re.extract": {3}, "re.capture": {2}, "re.captureN": {2},
}

// celAttributes are the names that an expression can begin with, and those of
// CEL's types. Source: Envoy, "Attributes".
var celAttributes = strings.Fields(`request response connection source destination upstream metadata filter_state upstream_filter_state xds
	bool bytes double int list map null_type string type uint`)

// celParser reads no macro but has().
var celParser = must(parser.NewParser(parser.Macros(parser.HasMacro), parser.MaxRecursionDepth(maxNesting), parser.ExpressionSizeCodePointLimit(maxExpression)))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// expression reports whether Envoy compiles a CEL expression.
//
// Source: github.com/google/cel-spec, and Envoy, "Attributes".
func expression(text string) error {
	parsed, errs := celParser.Parse(common.NewTextSource(text))
	if errs != nil && len(errs.GetErrors()) > 0 {
		first := errs.GetErrors()[0]
		return fmt.Errorf("%s at line %d, column %d", first.Message, first.Location.Line(), first.Location.Column()+1)
	}
	return checkCEL(parsed.Expr())
}

func checkCEL(e ast.Expr) error {
	switch e.Kind() {
	case ast.IdentKind:
		if name := e.AsIdent(); !slices.Contains(celAttributes, strings.TrimPrefix(name, ".")) {
			return fmt.Errorf("Envoy has no attribute %q; it has %s", name, strings.Join(celAttributes[:10], ", "))
		}
	case ast.SelectKind:
		return checkCEL(e.AsSelect().Operand())
	case ast.CallKind:
		return checkCall(e.AsCall())
	case ast.ListKind:
		return checkAll(e.AsList().Elements())
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			if err := checkAll([]ast.Expr{entry.AsMapEntry().Key(), entry.AsMapEntry().Value()}); err != nil {
				return err
			}
		}
	case ast.StructKind:
		return fmt.Errorf("Envoy makes no message %s", e.AsStruct().TypeName())
	case ast.ComprehensionKind:
		return fmt.Errorf("Envoy has no loops over lists and maps")
	case ast.LiteralKind, ast.UnspecifiedExprKind:
	}
	return nil
}

func checkAll(all []ast.Expr) error {
	for _, e := range all {
		if err := checkCEL(e); err != nil {
			return err
		}
	}
	return nil
}

func checkCall(c ast.CallExpr) error {
	name, args := c.FunctionName(), c.Args()
	if _, operator := operators.FindReverse(name); operator {
		return checkAll(args)
	}
	if c.IsMemberFunction() {
		if c.Target().Kind() == ast.IdentKind && celFunctions[c.Target().AsIdent()+"."+name] != nil {
			name = c.Target().AsIdent() + "." + name
		} else {
			args = append([]ast.Expr{c.Target()}, args...)
		}
	}
	if counts, ok := celFunctions[name]; !ok {
		return fmt.Errorf("Envoy has no function %s()", name)
	} else if !slices.Contains(counts, len(args)) {
		return fmt.Errorf("%s() is called with %d arguments", name, len(args))
	}
	if name == "matches" || strings.HasPrefix(name, "re.") {
		if pattern, ok := literal(args[1]); ok {
			if _, err := programSize(pattern); err != nil {
				return fmt.Errorf("%s(): %w", name, err)
			}
		}
	}
	return checkAll(args)
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().Value().(string)
	return s, ok
}

// logFilter checks the expression of a filter.
func logFilter(text string, at diag.Path, d *diag.List) bool {
	if err := expression(text); err != nil {
		d.Add(diag.BadExpression, at, "%v", err)
		return false
	}
	return true
}

var textOf = regexp.MustCompile(`^\s*string\(([^()]*)\)\s*$`)

// tagValue checks the value of a label and returns it in a form that Envoy's
// command "%CEL(...)%" takes: of one line, and without the end of a command.
// Labels are text anyhow, so that string() around the whole is left out.
func tagValue(text string, at diag.Path, d *diag.List) (string, bool) {
	if m := textOf.FindStringSubmatch(text); m != nil {
		text = m[1]
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	if err := expression(text); err != nil {
		d.Add(diag.BadExpression, at, "%v", err)
		return "", false
	}
	if endsCommand.MatchString(text) || strings.Contains(text, "//") {
		d.Add(diag.BadExpression, at, `Envoy cannot take ")%%", "):" and "//" here; write ") %%"`)
		return "", false
	}
	return text, true
}

// endsCommand is what Envoy takes for the end of "%CEL(...)%" or of
// "%CEL(...):LENGTH%".
var endsCommand = regexp.MustCompile(`\)(:[0-9]*)?%`)
