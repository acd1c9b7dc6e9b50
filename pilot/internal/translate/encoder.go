package translate

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// encoder writes a message by hand, field by field. Most messages of a mesh are
// alike but for some names: made of Go's messages, which are allocated, checked
// and walked by reflection, they would cost several times as much. Tests hold
// what is written to what Go's library reads and writes.
// Source: Protocol Buffers' "Encoding".
type encoder struct{ bytes []byte }

// text adds a field of text, of parts that follow one another.
func (e *encoder) text(field protowire.Number, parts ...string) {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	e.bytes = protowire.AppendVarint(protowire.AppendTag(e.bytes, field, protowire.BytesType), uint64(length))
	for _, p := range parts {
		e.bytes = append(e.bytes, p...)
	}
}

// number adds a field of a whole number, a bool or an enum.
func (e *encoder) number(field protowire.Number, n uint64) {
	e.bytes = protowire.AppendVarint(protowire.AppendTag(e.bytes, field, protowire.VarintType), n)
}

func (e *encoder) double(field protowire.Number, n float64) {
	e.bytes = protowire.AppendFixed64(protowire.AppendTag(e.bytes, field, protowire.Fixed64Type), math.Float64bits(n))
}

// within adds a field that is a message: what write adds to e.
func (e *encoder) within(field protowire.Number, write func()) {
	e.bytes = append(protowire.AppendTag(e.bytes, field, protowire.BytesType), 0)
	start := len(e.bytes)
	write()
	e.measure(start)
}

// measure puts before what was written from start on its length, for which
// there is one byte: most are short.
func (e *encoder) measure(start int) {
	length := len(e.bytes) - start
	if more := protowire.SizeVarint(uint64(length)) - 1; more > 0 {
		e.bytes = append(e.bytes, make([]byte, more)...)
		copy(e.bytes[start+more:], e.bytes[start:])
	}
	binary.PutUvarint(e.bytes[start-1:], uint64(length))
}

// pair adds an entry of the map from text to messages that is a Struct's fields, and
// a Metadata's filter_metadata.
func (e *encoder) pair(key string, write func()) {
	e.within(mapField, func() {
		e.text(mapKey, key)
		e.within(mapValue, write)
	})
}

// A map is a list of pairs of key and value. Both messages have nothing else.
const mapField, mapKey, mapValue = 1, 1, 2

// plainText reports whether Envoy takes s as a text of any kind. It may take
// others: Validate says.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
