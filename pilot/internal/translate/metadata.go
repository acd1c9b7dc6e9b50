package translate

import (
	"math"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/structpb"
)

// structure is a google.protobuf.Struct, serialised. Each cluster, endpoint and
// route carries some; as maps of Go's library, which are filled, sorted and
// walked by reflection, they would be half of what a cluster costs. Fields keep
// the order in which they were added; none may be added twice.
type structure []byte

// Fields of google.protobuf.Struct, its Value and ListValue, and of
// envoy.config.core.v3.Metadata; maps are lists of pairs of key and value.
const (
	structFields, mapKey, mapValue, listValues, filterMetadata = 1, 1, 2, 1, 1
	numberValue, stringValue, structValue, listValue           = 2, 3, 5, 6
)

// texts makes a structure of pairs of name and text.
func texts(pairs ...string) structure {
	length := 0
	for _, p := range pairs {
		length += len(p) + roomOfField/2
	}
	s := make(structure, 0, length)
	for i := 0; i+1 < len(pairs); i += 2 {
		s = s.text(pairs[i], pairs[i+1])
	}
	return s
}

// roomOfField is for what goes around a short name and text.
const roomOfField = 12

func (s structure) text(name, value string) structure {
	return protowire.AppendString(s.field(name, size(len(value)), stringValue, protowire.BytesType), value)
}

func (s structure) number(name string, value float64) structure {
	return protowire.AppendFixed64(s.field(name, 1+8, numberValue, protowire.Fixed64Type), math.Float64bits(value))
}

// list adds a list of one structure.
func (s structure) list(name string, only structure) structure {
	item := size(len(only))
	out := s.field(name, size(size(item)), listValue, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(size(item)))
	out = protowire.AppendVarint(protowire.AppendTag(out, listValues, protowire.BytesType), uint64(item))
	return protowire.AppendBytes(protowire.AppendTag(out, structValue, protowire.BytesType), only)
}

// field begins a field whose Value is of length bytes, and the Value with its
// tag.
func (s structure) field(name string, length int, kind protowire.Number, t protowire.Type) structure {
	out := protowire.AppendVarint(protowire.AppendTag(s, structFields, protowire.BytesType), uint64(size(len(name))+size(length)))
	out = protowire.AppendString(protowire.AppendTag(out, mapKey, protowire.BytesType), name)
	out = protowire.AppendVarint(protowire.AppendTag(out, mapValue, protowire.BytesType), uint64(length))
	return protowire.AppendTag(out, kind, t)
}

// size is that of a field of length bytes with its tag, whose number is under 16.
func size(length int) int { return 1 + protowire.SizeBytes(length) }

// message is s for a field of a message. To Go's library it is a Struct with
// fields that it does not know.
func (s structure) message() *structpb.Struct {
	m := &structpb.Struct{}
	m.ProtoReflect().SetUnknown([]byte(s))
	return m
}

// space is filter metadata under a name.
type space struct {
	name string
	structure
}

// metadata is written like a structure. It is nil without spaces.
func metadata(spaces ...space) *core.Metadata {
	if len(spaces) == 0 {
		return nil
	}
	length := 0
	for _, s := range spaces {
		length += len(s.name) + len(s.structure) + roomOfField
	}
	out := make([]byte, 0, length)
	for _, s := range spaces {
		out = protowire.AppendVarint(protowire.AppendTag(out, filterMetadata, protowire.BytesType), uint64(size(len(s.name))+size(len(s.structure))))
		out = protowire.AppendString(protowire.AppendTag(out, mapKey, protowire.BytesType), s.name)
		out = protowire.AppendBytes(protowire.AppendTag(out, mapValue, protowire.BytesType), s.structure)
	}
	m := &core.Metadata{}
	m.ProtoReflect().SetUnknown(out)
	return m
}
