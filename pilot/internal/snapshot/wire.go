package snapshot

import "encoding/binary"

// Field tags of the protobuf wire format (number<<3 | 2, a length-delimited
// field) in envoy.service.discovery.v3 DeltaDiscoveryResponse and Resource, and
// google.protobuf.Any.
const (
	tagResources    = 2<<3 | 2
	tagVersion      = 1<<3 | 2
	tagResource     = 2<<3 | 2
	tagName         = 3<<3 | 2
	tagAnyType      = 1<<3 | 2
	tagAnyValue     = 2<<3 | 2
	maxLengthPrefix = binary.MaxVarintLen32 + 1
)

// encode gives the resource as the entry of field "resources" of a
// DeltaDiscoveryResponse. It is made once, and the same bytes go to every
// stream. body is the tail of wire.
func encode(r *Resource) (wire, body []byte) {
	anyLen := fieldLen(len(r.Type)) + fieldLen(len(r.Body))
	inner := fieldLen(len(r.Version)) + fieldLen(len(r.Name)) + fieldLen(anyLen)
	wire = make([]byte, 0, fieldLen(inner))
	wire = appendHead(wire, tagResources, inner)
	wire = append(appendHead(wire, tagVersion, len(r.Version)), r.Version...)
	wire = append(appendHead(wire, tagName, len(r.Name)), r.Name...)
	wire = appendHead(wire, tagResource, anyLen)
	wire = append(appendHead(wire, tagAnyType, len(r.Type)), r.Type...)
	wire = append(appendHead(wire, tagAnyValue, len(r.Body)), r.Body...)
	return wire, wire[len(wire)-len(r.Body):]
}

func appendHead(to []byte, tag byte, length int) []byte {
	return binary.AppendUvarint(append(to, tag), uint64(length))
}

// fieldLen is the size of a length-delimited field of n bytes with its head.
func fieldLen(n int) int {
	var head [maxLengthPrefix]byte
	return len(appendHead(head[:0], 0, n)) + n
}
