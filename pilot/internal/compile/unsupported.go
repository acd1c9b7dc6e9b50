package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// ledger is constant data; its test keeps it readable.
var ledger = sync.OnceValues(apis.Support)

// reportUnsupported reports every field of the object that is set and that the
// ledger refuses, or does not use, at its path. So no field is ignored in silence.
func reportUnsupported(o *config.Object, d *diag.List) {
	m, ok := o.Spec.(proto.Message)
	l, err := ledger()
	if err != nil {
		d.Add(diag.NotSupported, "", "the support ledger cannot be read: %v", err)
		return
	}
	if !ok || l.Kind(string(o.Kind)).Status == apis.Refused {
		return
	}
	at := diag.Path("spec")
	if o.Kind == config.MeshConfig {
		at = ""
	}
	(&unsupported{ledger: l, d: d}).message(m.ProtoReflect(), at)
}

type unsupported struct {
	ledger *apis.Ledger
	d      *diag.List
}

func (u *unsupported) message(m protoreflect.Message, at diag.Path) {
	name := string(m.Descriptor().FullName())
	if !strings.HasPrefix(name, "istio.") {
		return
	}
	for _, f := range setFields(m) {
		at := at.Field(f.JSONName())
		switch row := u.ledger.Field(name, f.JSONName()); row.Status {
		case apis.Supported:
			u.value(f, m.Get(f), at)
		case apis.Ignored:
		case apis.Unused:
			u.d.Add(diag.NoEffect, at, "%s is not used (%s)", f.JSONName(), row.Why)
		default:
			u.d.Add(diag.NotSupported, at, "%s is not supported (%s)", f.JSONName(), cmp.Or(row.Why, "unknown field"))
		}
	}
}

// setFields gives the fields that are set, in the order of the message.
func setFields(m protoreflect.Message) (out []protoreflect.FieldDescriptor) {
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		out = append(out, f)
		return true
	})
	slices.SortFunc(out, func(a, b protoreflect.FieldDescriptor) int { return cmp.Compare(a.Index(), b.Index()) })
	return out
}

func (u *unsupported) value(f protoreflect.FieldDescriptor, v protoreflect.Value, at diag.Path) {
	switch {
	case f.IsMap() && f.MapValue().Message() != nil:
		u.entries(v.Map(), at)
	case f.IsMap() || f.Message() == nil:
	case f.IsList():
		for i := range v.List().Len() {
			u.message(v.List().Get(i).Message(), at.Index(i))
		}
	default:
		u.message(v.Message(), at)
	}
}

func (u *unsupported) entries(m protoreflect.Map, at diag.Path) {
	var keys []string
	values := map[string]protoreflect.Message{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		name := fmt.Sprint(k.Interface())
		keys, values[name] = append(keys, name), v.Message()
		return true
	})
	slices.Sort(keys)
	for _, k := range keys {
		u.message(values[k], at.Key(k))
	}
}
