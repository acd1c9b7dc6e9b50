package golden_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
)

// TestEverySupportedFieldHasACase holds the support ledger to its word: a field
// that it calls supported names the cases in which its behaviour is called for,
// and these exist and set it.
func TestEverySupportedFieldHasACase(t *testing.T) {
	ledger, err := apis.Support()
	if err != nil {
		t.Fatal(err)
	}
	cases := fieldsOfCases(t)
	for _, f := range supportedFields(ledger) {
		message, name := string(f.Parent().FullName()), f.JSONName()
		named := ledger.Field(message, name).Cases
		if len(named) == 0 {
			t.Errorf("apis/support.yaml: %s.%s names no case: write one in pilot/testdata, and the row as \"supported, see CASE\"", message, name)
		}
		for _, c := range named {
			if set, ok := cases[c]; !ok {
				t.Errorf("apis/support.yaml: %s.%s names %q: there is no pilot/testdata/%s.txtar", message, name, c, c)
			} else if !set[f.FullName()] {
				t.Errorf("apis/support.yaml: %s.%s names %q, which does not set the field", message, name, c)
			}
		}
	}
}

// supportedFields are those of the kinds of this version, and of the messages
// that they lead to.
func supportedFields(l *apis.Ledger) (out []protoreflect.FieldDescriptor) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || !strings.HasPrefix(string(m.FullName()), "istio.") {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if l.Field(string(m.FullName()), f.JSONName()).Status != apis.Supported {
				continue
			}
			out = append(out, f)
			if sub := messageOf(f); sub != nil {
				walk(sub)
			}
		}
	}
	for _, root := range []proto.Message{&networking.VirtualService{}, &networking.DestinationRule{}, &networking.Gateway{}, &security.PeerAuthentication{}} {
		walk(root.ProtoReflect().Descriptor())
	}
	return out
}

func messageOf(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() {
		return f.MapValue().Message()
	}
	return f.Message()
}

// fieldsOfCases gives, for each case with calls, the fields that its
// config.yaml sets.
func fieldsOfCases(t *testing.T) map[string]map[protoreflect.FullName]bool {
	t.Helper()
	files, err := filepath.Glob("../../pilot/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[protoreflect.FullName]bool{}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parts := map[string][]byte{}
		for _, part := range txtar.Parse(content).Files {
			parts[part.Name] = part.Data
		}
		if len(parts["calls.yaml"]) == 0 {
			continue
		}
		set := map[protoreflect.FullName]bool{}
		objects, _ := config.Decode(path, parts["config.yaml"])
		for _, o := range objects {
			if m, ok := o.Spec.(proto.Message); ok {
				noteFields(m.ProtoReflect(), set)
			}
		}
		out[strings.TrimSuffix(filepath.Base(path), ".txtar")] = set
	}
	return out
}

func noteFields(m protoreflect.Message, set map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		set[f.FullName()] = true
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				noteFields(v.Message(), set)
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				noteFields(v.List().Get(i).Message(), set)
			}
		case !f.IsMap() && f.Message() != nil:
			noteFields(v.Message(), set)
		}
		return true
	})
}
