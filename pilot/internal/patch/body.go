package patch

import (
	"errors"
	"fmt"
	"strings"

	"github.com/golang/protobuf/jsonpb"        //nolint:staticcheck // Istio reads bodies with it
	protov1 "github.com/golang/protobuf/proto" //nolint:staticcheck // for jsonpb
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/model"
)

// parse reads a body. A field that the message does not have is passed over,
// as in Istio: it may be one of a newer Envoy; see strict.
func parse(text string, into proto.Message) error { return read(text, into, true) }

// strict is parse that reports unknown fields.
func strict(text string, into proto.Message) error { return read(text, into, false) }

// read takes JSON as protobuf has it, and what Istio takes beyond it, such as
// the duration "500ms".
func read(text string, into proto.Message, unknown bool) error {
	err := (protojson.UnmarshalOptions{DiscardUnknown: unknown, AllowPartial: true}).Unmarshal([]byte(text), into)
	if err == nil {
		return nil
	}
	proto.Reset(into)
	u := jsonpb.Unmarshaler{AllowUnknownFields: unknown}
	other := u.Unmarshal(strings.NewReader(text), protov1.MessageV1(into))
	if other == nil || strings.Contains(other.Error(), "unknown field") && !strings.Contains(err.Error(), "unknown field") {
		return plain(other)
	}
	return plain(err)
}

// plain takes protojson's marks out of an error: its spaces vary on purpose,
// and positions are in a text that the user never saw.
func plain(err error) error {
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	text = strings.TrimPrefix(text, "proto: ")
	if strings.HasPrefix(text, "(line") || strings.HasPrefix(text, "syntax error (line") {
		if _, after, ok := strings.Cut(text, "): "); ok {
			text = after
		}
	}
	if strings.Contains(text, "unable to resolve") {
		if strings.Contains(text, ".v2.") || strings.Contains(text, "envoy.config.filter.") {
			text += " (Envoy has given up its v2 types: use the v3 one)"
		} else {
			text += " (no such type is known; Weft knows those of stock Envoy)"
		}
	}
	return errors.New(text)
}

// validated is what protoc-gen-validate gives every Envoy message.
type validated interface{ Validate() error }

// complete checks a body that stands for itself: it is added, not merged.
func complete(to model.ApplyTo, body proto.Message) error {
	if to == model.ToHTTPFilter || to == model.ToNetworkFilter || to == model.ToListenerFilter || to == model.ToExtension {
		m := body.ProtoReflect()
		if m.Get(m.Descriptor().Fields().ByName("name")).String() == "" {
			return errors.New("name is missing")
		}
		if !anyConfig(m) {
			return errors.New("typed_config is missing: Envoy finds a filter by the type of its configuration")
		}
	}
	return valid(body)
}

func anyConfig(m protoreflect.Message) bool {
	for _, name := range []protoreflect.Name{"typed_config", "config_discovery"} {
		if f := m.Descriptor().Fields().ByName(name); f != nil && m.Has(f) {
			return true
		}
	}
	return false
}

// known checks every typed configuration in a body: that its type is known and
// that Envoy's own rules for it hold (protoc-gen-validate). What is merged
// field by field need not stand for itself, so partial is excepted.
func known(body proto.Message, partial *anypb.Any) error {
	return inspection{partial}.message(body.ProtoReflect(), 0)
}

// partial is the typed configuration of a body that is merged field by field;
// nil if there is none.
func partial(body proto.Message) *anypb.Any {
	m := body.ProtoReflect()
	if f := m.Descriptor().Fields().ByName("transport_socket"); f != nil && m.Has(f) {
		m = m.Get(f).Message()
	}
	f := m.Descriptor().Fields().ByName("typed_config")
	if f == nil || f.Message() == nil || !m.Has(f) {
		return nil
	}
	packed, _ := m.Get(f).Message().Interface().(*anypb.Any)
	return packed
}

// maxDepth bounds how deep messages are in one another.
const maxDepth = 256

type inspection struct{ partial *anypb.Any }

func (in inspection) message(m protoreflect.Message, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("messages are more than %d deep in one another", maxDepth)
	}
	if packed, ok := m.Interface().(*anypb.Any); ok {
		return in.typed(packed, depth)
	}
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		err = in.field(f, v, depth)
		return err == nil
	})
	return err
}

func (in inspection) typed(packed *anypb.Any, depth int) error {
	inner, err := packed.UnmarshalNew()
	if err != nil {
		return fmt.Errorf("typed configuration %q: %w", packed.GetTypeUrl(), plain(err))
	}
	if inner, err = carried(inner); err != nil {
		return err
	}
	if packed != in.partial {
		if err := valid(inner); err != nil {
			return err
		}
	}
	return in.message(inner.ProtoReflect(), depth+1)
}

// carried is the message that a TypedStruct has in it, which Envoy checks like
// any other; m itself where it is none, or where its type is not known here.
// Source: xds.type.v3.TypedStruct, udpa.type.v1.TypedStruct.
func carried(m proto.Message) (proto.Message, error) {
	by, ok := m.(interface {
		GetTypeUrl() string
		GetValue() *structpb.Struct
	})
	if !ok {
		return m, nil
	}
	t, _ := protoregistry.GlobalTypes.FindMessageByURL(by.GetTypeUrl())
	if t == nil {
		return m, nil
	}
	text, err := protojson.Marshal(by.GetValue())
	if err != nil {
		return nil, plain(err)
	}
	out := t.New().Interface()
	// By protobuf's own rules: unlike a message, it goes to Envoy as it was written.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}).Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("TypedStruct of %q: %w", by.GetTypeUrl(), plain(err))
	}
	return out, nil
}

func (in inspection) field(f protoreflect.FieldDescriptor, v protoreflect.Value, depth int) (err error) {
	switch {
	case f.IsMap() && f.MapValue().Message() != nil:
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			err = in.message(v.Message(), depth+1)
			return err == nil
		})
	case f.IsMap() || f.Message() == nil:
	case f.IsList():
		for i := 0; i < v.List().Len() && err == nil; i++ {
			err = in.message(v.List().Get(i).Message(), depth+1)
		}
	default:
		return in.message(v.Message(), depth+1)
	}
	return err
}

// valid checks a message by Envoy's own rules.
func valid(m proto.Message) error {
	if v, ok := m.(validated); ok {
		return v.Validate()
	}
	return nil
}
