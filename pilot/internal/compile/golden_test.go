package compile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

var update = flag.Bool("update", false, "rewrite the expectations of testdata")

// A case is testdata/NAME.txtar: config.yaml in; want.yaml (the tables that
// the case names in "# tables: ..." of config.yaml) and findings.txt out.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a := txtar.Parse(data)
	in := section(a, "config.yaml")
	r := Mesh(decode(t, in))
	want, err := yaml.Marshal(tables(t, r.Mesh, in))
	if err != nil {
		t.Fatal(err)
	}
	findings := ""
	for _, f := range r.Findings.All() {
		for _, d := range f.List {
			findings += strings.TrimPrefix(d.String(), "test.yaml:") + "\n"
		}
	}
	if *update {
		a.Files = []txtar.File{{Name: "config.yaml", Data: []byte(in)}, {Name: "want.yaml", Data: want}, {Name: "findings.txt", Data: []byte(findings)}}
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(section(a, "want.yaml"), string(want)); d != "" {
		t.Errorf("the mesh (-want +got):\n%s", d)
	}
	if d := cmp.Diff(section(a, "findings.txt"), findings); d != "" {
		t.Errorf("findings (-want +got):\n%s", d)
	}
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// tables dumps what the case is about.
func tables(t *testing.T, m *model.Mesh, in string) map[string]any {
	line, _, _ := strings.Cut(in, "\n")
	names, ok := strings.CutPrefix(line, "# tables: ")
	if !ok {
		t.Fatal(`the first line of config.yaml must be "# tables: NAME ..."`)
	}
	out := map[string]any{}
	for _, name := range strings.Fields(names) {
		switch name {
		case "Settings":
			out[name] = dump(reflect.ValueOf(m.Settings))
		case "Services":
			out[name] = dumpTable(m.Services)
		case "Endpoints":
			out[name] = dumpTable(m.Endpoints)
		case "Workloads":
			out[name] = dumpTable(m.Workloads)
		case "Policies":
			out[name] = dumpTable(m.Policies)
		case "VirtualServices":
			out[name] = dumpTable(m.VirtualServices)
		case "Gateways":
			out[name] = dumpTable(m.Gateways)
		case "PeerAuth":
			out[name] = dumpTable(m.PeerAuth)
		case "Sidecars":
			out[name] = dumpTable(m.Sidecars)
		case "EnvoyFilters":
			out[name] = dumpTable(m.EnvoyFilters)
		default:
			t.Fatalf("unknown table %q", name)
		}
	}
	return out
}

func dumpTable[V comparable](t memo.Table[V]) map[string]any {
	out := map[string]any{}
	for k, v := range t.All() {
		out[k] = dump(reflect.ValueOf(v))
	}
	return out
}

// dump gives a value without its zero parts; a pointer that is set stays, even
// to zero. An action carries the name of its type.
func dump(v reflect.Value) any {
	if s, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer {
		return s.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		return dump(v.Elem())
	case reflect.Interface:
		return map[string]any{v.Elem().Type().Elem().Name(): dump(v.Elem())}
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); !v.Field(i).IsZero() && f.Name != "Origin" && f.Name != "Rank" {
				out[f.Name] = dump(v.Field(i))
			}
		}
		return out
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return string(v.Bytes())
		}
		out := []any{}
		for i := range v.Len() {
			out = append(out, dump(v.Index(i)))
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			out[fmt.Sprint(it.Key().Interface())] = dump(it.Value())
		}
		return out
	}
	return v.Interface()
}

// TestEverySupportedFieldHasACase: each field that the ledger calls supported
// is set in some case of testdata, and each that it refuses too.
func TestEverySupportedFieldHasACase(t *testing.T) {
	l, err := apis.Support()
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for _, o := range allCases(t) {
		if m, ok := o.Spec.(proto.Message); ok {
			noteSet(m.ProtoReflect(), set)
		}
	}
	seen := map[string]bool{}
	for _, root := range []proto.Message{&networking.VirtualService{}, &networking.DestinationRule{}, &networking.Gateway{}, &security.PeerAuthentication{}} {
		lacking(root.ProtoReflect().Descriptor(), l, set, seen, t)
	}
}

func allCases(t *testing.T) (out []*config.Object) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects, _ := config.Decode(file, []byte(section(txtar.Parse(data), "config.yaml")))
		out = append(out, objects...)
	}
	return out
}

func noteSet(m protoreflect.Message, set map[string]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		set[string(f.FullName())] = true
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { noteSet(v.Message(), set); return true })
			}
		case f.IsList():
			for i := 0; f.Message() != nil && i < v.List().Len(); i++ {
				noteSet(v.List().Get(i).Message(), set)
			}
		case f.Message() != nil:
			noteSet(v.Message(), set)
		}
		return true
	})
}

func lacking(m protoreflect.MessageDescriptor, l *apis.Ledger, set, seen map[string]bool, t *testing.T) {
	name := string(m.FullName())
	if seen[name] || !strings.HasPrefix(name, "istio.") {
		return
	}
	seen[name] = true
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		status := l.Field(name, f.JSONName()).Status
		if !set[string(f.FullName())] && status != apis.Ignored {
			t.Errorf("no case of testdata sets %s.%s, which is %s", name, f.JSONName(), status)
		}
		sub := f.Message()
		if f.IsMap() {
			sub = f.MapValue().Message()
		}
		if sub != nil && status == apis.Supported {
			lacking(sub, l, set, seen, t)
		}
	}
}
