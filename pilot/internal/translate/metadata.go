package translate

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// Each cluster, endpoint and route carries metadata, which are structures under
// names. As maps of Go's library, which are filled, sorted and walked by
// reflection, they would be half of what a cluster costs. Fields keep the order
// in which they are added; none may be added twice.

// Fields of google.protobuf.ListValue and Value.
const (
	listValues                                       = 1
	numberValue, stringValue, structValue, listValue = 2, 3, 5, 6
)

// say adds to a structure pairs of name and text.
func (e *encoder) say(pairs ...string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		e.pair(pairs[i], func() { e.text(stringValue, pairs[i+1]) })
	}
}

func (e *encoder) sayNumber(name string, value float64) {
	e.pair(name, func() { e.double(numberValue, value) })
}

// sayList adds to a structure a list of one structure.
func (e *encoder) sayList(name string, write func()) {
	e.pair(name, func() {
		e.within(listValue, func() {
			e.within(listValues, func() { e.within(structValue, write) })
		})
	})
}

// space adds to metadata a structure under a name.
func (e *encoder) space(name string, write func()) { e.pair(name, write) }

// metadata is what write adds; nil for nothing. To Go's library it is Metadata
// with fields that it does not know.
func metadata(write func(e *encoder)) *core.Metadata {
	e := encoder{bytes: make([]byte, 0, roomOfMetadata)}
	if write(&e); len(e.bytes) == 0 {
		return nil
	}
	m := &core.Metadata{}
	m.ProtoReflect().SetUnknown(e.bytes)
	return m
}

// roomOfMetadata is enough for those of most endpoints.
const roomOfMetadata = 192

// structure is metadata's like.
func structure(write func(e *encoder)) *structpb.Struct {
	e := encoder{}
	write(&e)
	m := &structpb.Struct{}
	m.ProtoReflect().SetUnknown(e.bytes)
	return m
}
