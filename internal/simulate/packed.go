package simulate

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// unpacked is the configuration of an extension. One that is written as a
// TypedStruct is the message that it carries; where that is not known here, it is
// an error of kind unknown, as any other message that is not.
// Source: xds.type.v3.TypedStruct, udpa.type.v1.TypedStruct.
func unpacked(config *anypb.Any) (proto.Message, error) {
	m, err := config.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	carrier, ok := m.(interface {
		GetTypeUrl() string
		GetValue() *structpb.Struct
	})
	if !ok {
		return m, nil
	}
	t, err := protoregistry.GlobalTypes.FindMessageByURL(carrier.GetTypeUrl())
	if err != nil {
		return nil, unknown("TypedStruct of %q", carrier.GetTypeUrl())
	}
	return carried(t, carrier.GetValue())
}

func carried(t protoreflect.MessageType, value *structpb.Struct) (proto.Message, error) {
	text, err := protojson.Marshal(value)
	if err != nil {
		return nil, err
	}
	out := t.New().Interface()
	if err := protojson.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("TypedStruct of %s: %w", t.Descriptor().FullName(), err)
	}
	return out, nil
}
