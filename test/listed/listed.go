// Package listed holds docs/metrics.md to what the components export.
//
// In: a component's registry as it runs, or rows. Out: a failed test where the
// page lacks a metric, has one that is gone, or a metric has no help text; or,
// on demand, the page's section rewritten. Only tests import it.
package listed

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/test/repository"
)

// Row is one metric of the page.
type Row struct {
	Name, Type, Help string
	Labels           []string
}

// Metrics fails t unless the page's section has just what reg has, and each of it
// a help text. With update it writes the section.
func Metrics(t *testing.T, section string, reg *prometheus.Registry, update bool) {
	t.Helper()
	Rows(t, section, rowsOf(t, reg), update)
}

// Rows is Metrics for what no registry has.
func Rows(t *testing.T, section string, rows []Row, update bool) {
	t.Helper()
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.Name, b.Name) })
	var want strings.Builder
	want.WriteString("| metric | type | labels | |\n|---|---|---|---|\n")
	above := ""
	for _, r := range rows {
		if r.Help == "" || r.Type == "" {
			t.Errorf("%s: type %q, help %q: a metric needs both", r.Name, r.Type, r.Help)
		}
		labels := strings.Join(r.Labels, ", ")
		if len(r.Labels) > 8 && labels == above {
			labels = "as above"
		} else {
			above = labels
		}
		want.WriteString("| `" + r.Name + "` | " + r.Type + " | " + labels + " | " + strings.ReplaceAll(r.Help, "|", `\|`) + " |\n")
	}
	page := open(t)
	defer page.Close()
	text, err := os.ReadFile(page.Name())
	if err != nil {
		t.Fatal(err)
	}
	before, have, after := cut(t, string(text), section)
	if have == want.String() {
		return
	}
	if !update {
		t.Errorf("docs/metrics.md, section %s: run this test with -args -update.\nIt has\n%s\nwant\n%s", section, have, want.String())
		return
	}
	if err := os.WriteFile(page.Name(), []byte(before+want.String()+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// open locks the page: tests of several packages write their sections at once.
func open(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(Root(t), "docs/metrics.md"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return f
}

// Root is the repository's, above the folder that a test runs in.
func Root(t *testing.T) string {
	t.Helper()
	dir, err := repository.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// cut gives what stands before, in and after a section's table.
func cut(t *testing.T, page, section string) (before, table, after string) {
	t.Helper()
	start, end := "<!-- "+section+" -->\n", "<!-- end -->\n"
	head, rest, found := strings.Cut(page, start)
	table, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("docs/metrics.md has no section between %q and %q", start, end)
	}
	return head + start, table, end + after
}

// described is how client_golang prints a Desc.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: ("(?:[^"\\]|\\.)*"), unit: "[^"]*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// usual are those of Go's runtime and of the process, which client_golang has.
var usual = regexp.MustCompile(`^(istio_agent_)?(go|process|promhttp)_`)

// rowsOf are the metrics of a registry, those too that have no value yet.
func rowsOf(t *testing.T, reg *prometheus.Registry) (out []Row) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for _, f := range families {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descs := make(chan *prometheus.Desc)
	go func() { reg.Describe(descs); close(descs) }()
	for d := range descs {
		r := rowOf(t, d, types)
		delete(types, r.Name)
		if !usual.MatchString(r.Name) {
			out = append(out, r)
		}
	}
	for name := range types {
		t.Errorf("%s is exported without a description", name)
	}
	return out
}

// rowOf says what a Desc says. Where it has no value yet, its type is what its
// name makes likely, which this package's own test checks in the code.
func rowOf(t *testing.T, d *prometheus.Desc, types map[string]string) Row {
	t.Helper()
	m := described.FindStringSubmatch(d.String())
	if m == nil {
		t.Fatalf("cannot read %s", d)
	}
	help, err := strconv.Unquote(m[2])
	if err != nil {
		t.Fatal(err)
	}
	r := Row{Name: m[1], Help: help, Type: types[m[1]]}
	for _, pair := range constant.FindAllStringSubmatch(m[3], -1) {
		r.Labels = append(r.Labels, pair[1])
	}
	if m[4] != "" {
		r.Labels = append(r.Labels, strings.Split(m[4], ",")...)
	}
	switch {
	case r.Type != "":
	case strings.HasSuffix(r.Name, "_total"):
		r.Type = "counter"
	case strings.HasSuffix(r.Name, "_duration_seconds"):
		r.Type = "histogram"
	default:
		r.Type = "gauge"
	}
	return r
}

// constant is one of a Desc's constant labels.
var constant = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*"`)
