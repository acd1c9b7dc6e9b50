package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	protov1 "github.com/golang/protobuf/proto" //nolint:staticcheck // for jsonpb, see decode.go
	yamlv3 "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftmesh/weft/internal/diag"
)

func protoV1(m proto.Message) protov1.Message { return protov1.MessageV1(m) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// unknownFields compares a JSON tree with a message's fields: what it does not
// have, and those of which only one may be set, where a reader would drop all
// but the last.
func unknownFields(desc protoreflect.MessageDescriptor, tree any, at diag.Path) (out []fieldProblem) {
	fields, ok := tree.(map[string]any)
	if !ok || strings.HasPrefix(string(desc.FullName()), "google.protobuf.") {
		return nil
	}
	chosen := map[protoreflect.Name]string{} // by oneof: the field that is set
	for _, name := range sortedKeys(fields) {
		fd := desc.Fields().ByJSONName(name)
		if fd == nil {
			fd = desc.Fields().ByTextName(name)
		}
		if fd == nil {
			out = append(out, fieldProblem{at.Field(name), fmt.Sprintf("unknown field %q in %s", name, desc.Name())})
			continue
		}
		out = append(out, unknownIn(fd, fields[name], at.Field(name))...)
		if one := fd.ContainingOneof(); one != nil && fields[name] != nil {
			if first, twice := chosen[one.Name()]; twice {
				out = append(out, fieldProblem{at.Field(name), fmt.Sprintf("only one of %s and %s may be set", first, name)})
				continue
			}
			chosen[one.Name()] = name
		}
	}
	return out
}

func unknownIn(fd protoreflect.FieldDescriptor, value any, at diag.Path) (out []fieldProblem) {
	switch {
	case fd.IsMap():
		values, ok := value.(map[string]any)
		if !ok || fd.MapValue().Message() == nil {
			return nil
		}
		for _, k := range sortedKeys(values) {
			out = append(out, unknownFields(fd.MapValue().Message(), values[k], at.Key(k))...)
		}
	case fd.Message() == nil:
	case fd.IsList():
		values, ok := value.([]any)
		if !ok {
			return nil
		}
		for i, v := range values {
			out = append(out, unknownFields(fd.Message(), v, at.Index(i))...)
		}
	default:
		out = unknownFields(fd.Message(), value, at)
	}
	return out
}

var step = regexp.MustCompile(`([^.\[\]]+)|\[(\d+)\]|\["([^"]*)"\]`)

// lineOf returns the line of a field in the file: of the deepest part of the
// path that exists.
func (d document) lineOf(at diag.Path) int {
	var root yamlv3.Node
	if yamlv3.Unmarshal(d.text, &root) != nil || len(root.Content) == 0 {
		return d.line
	}
	full := string(d.at)
	if full != "" && at != "" {
		full += "."
	}
	full += string(at)
	node, line := root.Content[0], root.Content[0].Line
	for _, m := range step.FindAllStringSubmatch(full, -1) {
		next, l := child(node, m)
		if next == nil {
			break
		}
		node, line = next, l
	}
	return d.line + line - 1
}

// child follows one step of a path; it returns the line of the key or item.
func child(n *yamlv3.Node, m []string) (*yamlv3.Node, int) {
	switch {
	case m[2] != "" && n.Kind == yamlv3.SequenceNode:
		if i, err := strconv.Atoi(m[2]); err == nil && i < len(n.Content) {
			return n.Content[i], n.Content[i].Line
		}
	case n.Kind == yamlv3.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i].Value; k == m[1] || m[1] == "" && k == m[3] {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	}
	return nil, 0
}
