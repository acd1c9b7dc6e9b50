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

	versionLength = 16 // hex digits
)

// head begins the resource as the entry of field "resources" of a
// DeltaDiscoveryResponse, with room for the body that ends it. It is made once,
// and the same bytes go to every stream. version is where its version is to be
// written.
func head(typeURL, name string, body int) (wire, version []byte) {
	anyLen := fieldLen(len(typeURL)) + fieldLen(body)
	inner := fieldLen(versionLength) + fieldLen(len(name)) + fieldLen(anyLen)
	wire = make([]byte, 0, fieldLen(inner))
	wire = appendHead(wire, tagResources, inner)
	wire = appendHead(wire, tagVersion, versionLength)
	at := len(wire)
	wire = wire[:at+versionLength]
	version = wire[at:]
	wire = append(appendHead(wire, tagName, len(name)), name...)
	wire = appendHead(wire, tagResource, anyLen)
	wire = append(appendHead(wire, tagAnyType, len(typeURL)), typeURL...)
	return appendHead(wire, tagAnyValue, body), version
}

func appendHead(to []byte, tag byte, length int) []byte {
	return binary.AppendUvarint(append(to, tag), uint64(length))
}

// fieldLen is the size of a length-delimited field of n bytes with its head.
func fieldLen(n int) int {
	var head [maxLengthPrefix]byte
	return len(appendHead(head[:0], 0, n)) + n
}
