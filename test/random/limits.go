package random

import (
	"fmt"
	"iter"

	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/config"
)

// Limits gives, for every number and duration that some case sets, once for each
// field of Istio's API, that case's objects with the field at its limits and
// beyond them. The name is the field's with the value.
func (c *Corpus) Limits() iter.Seq2[string, []Tree] {
	return func(yield func(string, []Tree) bool) {
		seen := map[protoreflect.FullName]bool{}
		more := true
		for _, texts := range c.cases {
			objects := trees(texts)
			for _, o := range objects {
				kind, _ := o["kind"].(string)
				spec, _ := o["spec"].(Tree)
				name, ok := messages[config.Kind(kind)]
				if !ok || spec == nil {
					continue
				}
				visit(descriptor(name), spec, func(f protoreflect.FieldDescriptor, values []any, set func(any)) {
					if seen[f.FullName()] {
						return
					}
					seen[f.FullName()] = true
					for _, v := range values {
						set(v)
						if more = more && yield(fmt.Sprintf("%s=%v", f.FullName(), v), objects); !more {
							return
						}
					}
				})
			}
		}
	}
}

func trees(texts [][]byte) (out []Tree) {
	for _, text := range texts {
		var o Tree
		if yaml.Unmarshal(text, &o) == nil {
			out = append(out, o)
		}
	}
	return out
}

// visit goes through the numbers and durations that a message has. What set
// leaves is put back.
func visit(d protoreflect.MessageDescriptor, in Tree, found func(protoreflect.FieldDescriptor, []any, func(any))) {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		value, ok := in[f.JSONName()]
		if !ok {
			continue
		}
		if values := limitsOf(f); values != nil && !f.IsMap() {
			found(f, values, func(v any) {
				if in[f.JSONName()] = v; f.IsList() {
					in[f.JSONName()] = []any{v}
				}
			})
			in[f.JSONName()] = value
		}
		visitIn(f, value, found)
	}
}

func visitIn(f protoreflect.FieldDescriptor, value any, found func(protoreflect.FieldDescriptor, []any, func(any))) {
	of := f.Message()
	if f.IsMap() {
		of = f.MapValue().Message()
	}
	if of == nil || wellKnown(of) {
		return
	}
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			if sub, ok := item.(Tree); ok {
				visit(of, sub, found)
			}
		}
	case Tree:
		if !f.IsMap() {
			visit(of, v, found)
			return
		}
		for _, item := range v {
			if sub, ok := item.(Tree); ok {
				visit(of, sub, found)
			}
		}
	}
}

// limitsOf are the values to try of a field; nil for what is no number.
func limitsOf(f protoreflect.FieldDescriptor) []any {
	if m := f.Message(); m != nil && !f.IsMap() && wellKnown(m) {
		if m.FullName() == "google.protobuf.Duration" {
			return anys(oddDurations)
		}
		if value := m.Fields().ByName("value"); value != nil && value.Message() == nil {
			f = value
		}
	}
	switch f.Kind() {
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return floats
	default:
		return limits[f.Kind()]
	}
}

func anys(in []string) (out []any) {
	for _, s := range in {
		out = append(out, s)
	}
	return out
}
