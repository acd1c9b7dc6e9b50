package config

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/golang/protobuf/jsonpb" //nolint:staticcheck // istio.io/api reads its messages with it: it takes durations such as "1h"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftmesh/weft/internal/diag"
)

func readMessage(raw []byte, m proto.Message) error {
	u := jsonpb.Unmarshaler{AllowUnknownFields: true}
	return u.Unmarshal(bytes.NewReader(raw), protoV1(m))
}

// misread finds the field for which a tree cannot be read into a message: it
// reads each field alone, and goes on in the one that fails. outer is what is
// known so far.
func misread(desc protoreflect.MessageDescriptor, tree any, outer fieldProblem) fieldProblem {
	fields, ok := tree.(map[string]any)
	t, err := protoregistry.GlobalTypes.FindMessageByName(desc.FullName())
	if !ok || err != nil || strings.HasPrefix(string(desc.FullName()), "google.protobuf.") {
		return outer
	}
	for _, name := range sortedKeys(fields) {
		raw, err := json.Marshal(map[string]any{name: fields[name]})
		if err != nil {
			return outer
		}
		err = readMessage(raw, t.New().Interface())
		fd := desc.Fields().ByJSONName(name)
		if fd == nil {
			fd = desc.Fields().ByTextName(name)
		}
		if err != nil && fd != nil {
			return misreadIn(fd, fields[name], fieldProblem{outer.path.Field(name), plainError(err)})
		}
	}
	return outer
}

func misreadIn(fd protoreflect.FieldDescriptor, value any, outer fieldProblem) fieldProblem {
	switch v := value.(type) {
	case []any:
		if !fd.IsList() || fd.Message() == nil {
			return outer
		}
		for i, item := range v {
			at := fieldProblem{outer.path.Index(i), outer.text}
			if p := misread(fd.Message(), item, at); p != at {
				return p
			}
		}
	case map[string]any:
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			for _, k := range sortedKeys(v) {
				at := fieldProblem{outer.path.Key(k), outer.text}
				if p := misread(fd.MapValue().Message(), v[k], at); p != at {
					return p
				}
			}
		case !fd.IsMap() && fd.Message() != nil:
			return misread(fd.Message(), v, outer)
		}
	}
	return outer
}

var goType = regexp.MustCompile(`^json: cannot unmarshal (\S+) into Go (?:value|struct field (\S+)) of type (\S+)$`)

// plainError says an error of encoding/json without Go's words.
func plainError(err error) string {
	_, text := wrongType(err)
	return text
}

// wrongType does the same, and returns the path of the field where the error
// names it.
func wrongType(err error) (diag.Path, string) {
	m := goType.FindStringSubmatch(err.Error())
	if m == nil {
		return "", err.Error()
	}
	_, path, _ := strings.Cut(m[2], ".")
	want := m[3]
	switch {
	case strings.HasPrefix(want, "[]"):
		want = "list"
	case strings.HasPrefix(want, "int"), strings.HasPrefix(want, "uint"), strings.HasPrefix(want, "float"):
		want = "number"
	case strings.ContainsAny(want, ".[{*"):
		want = "object"
	}
	text := "it is of type " + m[1] + ", " + want + " is expected"
	if m[1] == "bool" && want == "string" {
		text += " (YAML reads y, n, yes, no, on and off as bool: put it in quotes)"
	}
	return diag.Path(path), text
}
