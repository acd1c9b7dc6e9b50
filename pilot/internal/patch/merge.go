package patch

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// merge puts src into dst by the rules of protobuf: a field that src sets
// replaces dst's, messages are merged, lists are appended (or replaced, with
// lists), entries of maps are replaced. Other than in protobuf a wrapper or a
// duration is one value, so that "false" and "0s" can be merged in. src is not
// changed, and nothing of it is shared.
func merge(dst, src proto.Message, lists bool) error {
	if a, b := dst.ProtoReflect().Descriptor().FullName(), src.ProtoReflect().Descriptor().FullName(); a != b {
		return fmt.Errorf("a %s cannot be merged into a %s; use REPLACE", b, a)
	}
	mergeMessage(dst.ProtoReflect(), src.ProtoReflect(), lists)
	return nil
}

func mergeMessage(dst, src protoreflect.Message, lists bool) {
	src.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList():
			if lists {
				dst.Clear(f)
			}
			to := dst.Mutable(f).List()
			for i := range v.List().Len() {
				to.Append(copied(f, v.List().Get(i)))
			}
		case f.IsMap():
			to := dst.Mutable(f).Map()
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				to.Set(k, copied(f.MapValue(), v))
				return true
			})
		case f.Message() == nil || atomic(f.Message()):
			dst.Set(f, copied(f, v))
		default:
			mergeMessage(dst.Mutable(f).Message(), v.Message(), lists)
		}
		return true
	})
}

func copied(f protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	if f.Message() != nil {
		return protoreflect.ValueOfMessage(proto.Clone(v.Message().Interface()).ProtoReflect())
	}
	return v
}

// atomic are the messages that stand for one value.
func atomic(m protoreflect.MessageDescriptor) bool {
	name := string(m.FullName())
	return m.FullName() == "google.protobuf.Duration" || strings.HasPrefix(name, "google.protobuf.") && strings.HasSuffix(name, "Value")
}

// mergeAny merges the messages in two Any of one type.
func mergeAny(dst, src *anypb.Any, lists bool) (*anypb.Any, error) {
	if dst.GetTypeUrl() != src.GetTypeUrl() {
		return nil, fmt.Errorf("a configuration of type %s cannot be merged into one of type %s; use REPLACE", short(src), short(dst))
	}
	to, err := dst.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	from, err := src.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	if err := merge(to, from, lists); err != nil {
		return nil, err
	}
	if err := valid(to); err != nil {
		return nil, err
	}
	return pack(to)
}

func short(a *anypb.Any) string { return string(a.MessageName()) }

// pack wraps a message, the same bytes each time.
func pack(m proto.Message) (*anypb.Any, error) {
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, err
	}
	return out, nil
}

// mergeTyped is merge for a message with a typed_config, which is merged field
// by field too. A dst of another type, or without one, is left alone if loose.
func mergeTyped(dst, src proto.Message, lists, loose bool) (done bool, err error) {
	to, from := dst.ProtoReflect(), src.ProtoReflect()
	f := to.Descriptor().Fields().ByName("typed_config")
	var merged *anypb.Any
	if from.Has(f) {
		a, _ := to.Get(f).Message().Interface().(*anypb.Any)
		b, _ := from.Get(f).Message().Interface().(*anypb.Any)
		if loose && a.GetTypeUrl() != b.GetTypeUrl() {
			return false, nil
		}
		if merged, err = mergeAny(a, b, lists); err != nil {
			return false, err
		}
	}
	rest := proto.Clone(src)
	rest.ProtoReflect().Clear(f)
	if err := merge(dst, rest, lists); err != nil {
		return false, err
	}
	if merged != nil {
		to.Set(f, protoreflect.ValueOfMessage(merged.ProtoReflect()))
	}
	return true, nil
}
