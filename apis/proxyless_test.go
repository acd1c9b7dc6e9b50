package apis

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"
)

// TestProxylessNotesAreOfFields: each note is on a field that Istio has and that
// the ledger does not ignore, or on a value of an enum.
func TestProxylessNotesAreOfFields(t *testing.T) {
	notes, err := Proxyless()
	if err != nil {
		t.Fatal(err)
	}
	messages := reachable(&networking.VirtualService{}, &networking.DestinationRule{})
	for _, name := range notes.Messages() {
		for _, row := range notes.Fields(name) {
			field, value, enum := strings.Cut(row, "=")
			f := fieldOf(messages[name], field)
			switch {
			case f == nil:
				t.Errorf("apis/proxyless.yaml: %s has no field %s", name, field)
			case enum && (f.Enum() == nil || f.Enum().Values().ByName(protoreflect.Name(value)) == nil):
				t.Errorf("apis/proxyless.yaml: %s.%s has no value %s", name, field, value)
			}
		}
	}
}

func fieldOf(m protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if m == nil {
		return nil
	}
	return m.Fields().ByJSONName(name)
}
