// Package random makes users' objects of Istio's API at random, right and
// wrong ones, the same from the same seed.
//
// It walks the protobuf descriptors, so a field that Istio adds is tried
// without a line here: each field is now and then set, to what it could mean,
// to its limits, beyond them, or to nonsense. In: a seed, and objects to vary.
// Out: objects as YAML that config.Decode takes, and smaller ones that still
// fail. It knows of Istio's API but not of what is made of it: it imports
// internal/config alone.
package random

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftmesh/weft/internal/config"
)

// Tree is an object of JSON: maps, lists, strings, numbers and booleans.
type Tree = map[string]any

// messages are the specs of the kinds that are made, by kind.
var messages = map[config.Kind]protoreflect.FullName{
	config.VirtualService:      "istio.networking.v1alpha3.VirtualService",
	config.DestinationRule:     "istio.networking.v1alpha3.DestinationRule",
	config.Gateway:             "istio.networking.v1alpha3.Gateway",
	config.ServiceEntry:        "istio.networking.v1alpha3.ServiceEntry",
	config.WorkloadEntry:       "istio.networking.v1alpha3.WorkloadEntry",
	config.WorkloadGroup:       "istio.networking.v1alpha3.WorkloadGroup",
	config.Sidecar:             "istio.networking.v1alpha3.Sidecar",
	config.EnvoyFilter:         "istio.networking.v1alpha3.EnvoyFilter",
	config.ProxyConfig:         "istio.networking.v1beta1.ProxyConfig",
	config.MeshConfig:          "istio.mesh.v1alpha1.MeshConfig",
	config.PeerAuthentication:  "istio.security.v1beta1.PeerAuthentication",
	config.AuthorizationPolicy: "istio.security.v1beta1.AuthorizationPolicy",
}

// Kinds are those that are made, sorted.
func Kinds() (out []config.Kind) {
	for k := range messages {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// maxDepth bounds how deep messages are put into messages.
const maxDepth = 9

// Maker makes objects. It belongs to one goroutine.
type Maker struct {
	r *rand.Rand
	// wrong is the share of values that are taken without a thought for their
	// field; it differs by object, so that one wrong value stands among right
	// ones, and among wrong ones.
	wrong float64
}

// New returns the Maker of a seed.
func New(seed uint64) *Maker { return &Maker{r: rand.New(rand.NewPCG(seed, 1))} }

// Object makes an object of a kind. Its name is one of few, so that objects
// refer to one another, and to themselves.
func (m *Maker) Object(kind config.Kind) Tree {
	m.wrong = []float64{0, 0.01, 0.05, 0.3}[m.r.IntN(4)]
	name, namespace := pick(m.r, names), pick(m.r, namespaces)
	if kind == config.MeshConfig {
		name = "mesh"
	}
	version := "/v1"
	if kind == config.EnvoyFilter || kind == config.MeshConfig {
		version = "/v1alpha3"
	}
	meta := Tree{"name": name}
	if kind != config.MeshConfig {
		meta["namespace"] = namespace
	}
	return Tree{"apiVersion": kind.Group() + version, "kind": string(kind), "metadata": meta, "spec": m.message(descriptor(messages[kind]), 0)}
}

// Vary changes one to three fields of an object's spec, at any depth; kinds
// that are not made are left as they are. The object is written to.
func (m *Maker) Vary(object Tree) {
	kind, _ := object["kind"].(string)
	name, ok := messages[config.Kind(kind)]
	if !ok {
		return
	}
	m.wrong = []float64{0, 0.1, 1}[m.r.IntN(3)]
	spec, _ := object["spec"].(Tree)
	for range 1 + m.r.IntN(3) {
		if spec == nil {
			return
		}
		m.vary(descriptor(name), spec)
	}
}

// vary changes a field of a message, or goes into one of those that it has.
func (m *Maker) vary(d protoreflect.MessageDescriptor, in Tree) {
	if f := m.setField(d, in); f != nil && m.r.IntN(5) > 0 {
		switch v := in[f.JSONName()].(type) {
		case Tree:
			m.vary(f.Message(), v)
			return
		case []any:
			if sub, ok := v[m.r.IntN(len(v))].(Tree); ok {
				m.vary(f.Message(), sub)
				return
			}
		}
	}
	if d.Fields().Len() == 0 {
		return
	}
	f := d.Fields().Get(m.r.IntN(d.Fields().Len()))
	if m.r.IntN(8) == 0 {
		delete(in, f.JSONName())
		return
	}
	clearSiblings(f, in)
	in[f.JSONName()] = m.field(f, maxDepth-3)
}

// setField is one of the message fields that are set and can be gone into.
func (m *Maker) setField(d protoreflect.MessageDescriptor, in Tree) protoreflect.FieldDescriptor {
	var set []protoreflect.FieldDescriptor
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.Message() == nil || f.IsMap() || wellKnown(f.Message()) {
			continue
		}
		switch v := in[f.JSONName()].(type) {
		case Tree:
			set = append(set, f)
		case []any:
			if len(v) > 0 {
				set = append(set, f)
			}
		}
	}
	if len(set) == 0 {
		return nil
	}
	return set[m.r.IntN(len(set))]
}

// clearSiblings takes out what shares a oneof with f: one of them may be set.
func clearSiblings(f protoreflect.FieldDescriptor, in Tree) {
	one := f.ContainingOneof()
	if one == nil {
		return
	}
	for i := range one.Fields().Len() {
		delete(in, one.Fields().Get(i).JSONName())
	}
}

// message makes one; the deeper, the fewer fields it has.
func (m *Maker) message(d protoreflect.MessageDescriptor, depth int) Tree {
	out := Tree{}
	for i := range d.Oneofs().Len() {
		one := d.Oneofs().Get(i)
		if depth < maxDepth && m.r.IntN(8) > 0 {
			f := one.Fields().Get(m.r.IntN(one.Fields().Len()))
			out[f.JSONName()] = m.field(f, depth)
		}
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.ContainingOneof() == nil && m.chosen(f, d.Fields().Len(), depth) {
			out[f.JSONName()] = m.field(f, depth)
		}
	}
	return out
}

// chosen says whether a field is set: those without which an object means
// nothing nearly always, the others so that about three are.
func (m *Maker) chosen(f protoreflect.FieldDescriptor, of, depth int) bool {
	if depth >= maxDepth && f.Message() != nil {
		return false
	}
	if essential[f.Name()] {
		return m.r.IntN(16) > 0
	}
	return m.r.IntN(max(2, of)) < 3 && m.r.IntN(2) == 0 || m.r.IntN(20) == 0
}

func (m *Maker) field(f protoreflect.FieldDescriptor, depth int) any {
	switch {
	case f.IsMap():
		out := Tree{}
		for range m.length() {
			out[m.key(f)] = m.one(f.MapValue(), f.Name(), depth)
		}
		return out
	case f.IsList():
		out := []any{}
		for range m.length() {
			if len(out) > 0 && m.r.IntN(8) == 0 {
				out = append(out, out[m.r.IntN(len(out))])
				continue
			}
			out = append(out, m.one(f, f.Name(), depth))
		}
		return out
	}
	return m.one(f, f.Name(), depth)
}

// length of a list or map: mostly short, now and then nothing or many.
func (m *Maker) length() int {
	switch m.r.IntN(40) {
	case 0:
		return 0
	case 1:
		return 5 + m.r.IntN(20)
	}
	return 1 + m.r.IntN(3)
}

func (m *Maker) key(f protoreflect.FieldDescriptor) string {
	if f.MapKey().Kind() != protoreflect.StringKind {
		return fmt.Sprint(m.number(f.MapKey()))
	}
	return m.text(f.Name() + "{}")
}

// one makes a value of f that stands alone. name is that of the field, which
// says what its strings mean.
func (m *Maker) one(f protoreflect.FieldDescriptor, name protoreflect.Name, depth int) any {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return m.inner(f.Message(), name, depth)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		if m.odd(10) {
			return pick(m.r, []any{-1, 99, 1 << 30})
		}
		return string(values.Get(m.r.IntN(values.Len())).Name())
	case protoreflect.BoolKind:
		return m.r.IntN(2) == 0
	case protoreflect.StringKind:
		return m.text(name)
	case protoreflect.BytesKind:
		return "AAEC"
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return pick(m.r, floats)
	default:
		return m.number(f)
	}
}

// odd reports whether a wrong value is due, one in n times where the object
// has all wrong.
func (m *Maker) odd(n int) bool { return m.r.Float64() < m.wrong && m.r.IntN(n) == 0 }

func (m *Maker) number(f protoreflect.FieldDescriptor) any {
	from := likelyNumbers
	if m.r.Float64() < m.wrong || m.r.IntN(12) == 0 {
		from = limits[f.Kind()]
	}
	return pick(m.r, from)
}

// inner makes a message, or what stands for one in JSON.
func (m *Maker) inner(d protoreflect.MessageDescriptor, name protoreflect.Name, depth int) any {
	switch d.FullName() {
	case "google.protobuf.Duration":
		if m.odd(20) {
			return pick(m.r, []string{"abc", "", "1", "-", "1e9s", "9999999999999999999s"})
		}
		if m.r.Float64() < m.wrong || m.r.IntN(10) == 0 {
			return pick(m.r, oddDurations)
		}
		return pick(m.r, durations)
	case "google.protobuf.Struct", "google.protobuf.Value":
		return m.patch()
	case "google.protobuf.Any", "google.protobuf.Timestamp":
		return nil
	}
	if wellKnown(d) { // a wrapper of a number, string or bool
		return m.one(d.Fields().ByName("value"), name, depth)
	}
	return m.message(d, depth+1)
}

func wellKnown(d protoreflect.MessageDescriptor) bool {
	return d.FullName().Parent() == "google.protobuf"
}

func descriptor(name protoreflect.FullName) protoreflect.MessageDescriptor {
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		panic(fmt.Sprintf("%s is not linked: %v", name, err))
	}
	return t.Descriptor()
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// YAML is objects as documents of one file.
func YAML(objects ...Tree) []byte {
	var out []byte
	for _, o := range objects {
		text, err := json.Marshal(o)
		if err != nil {
			panic(fmt.Sprintf("not JSON: %v", err)) // Maker makes nothing else
		}
		out = append(append(out, "---\n"...), append(text, '\n')...)
	}
	return out
}
