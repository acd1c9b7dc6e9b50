package xds

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// response is one DeltaDiscoveryResponse in parts: its resources stay the
// shared bytes that the snapshot holds.
type response struct {
	typeURL   string
	nonce     string
	resources []*snapshot.Resource
	absent    []string // names to answer with an empty resource: they do not exist
	removed   []string
	sotw      bool // it is a DiscoveryResponse: resources are all that there is to say
}

// Tags of DeltaDiscoveryResponse and Resource (envoy/service/discovery/v3).
const (
	tagResources = 2<<3 | 2
	tagTypeURL   = 4<<3 | 2
	tagNonce     = 5<<3 | 2
	tagRemoved   = 6<<3 | 2
	tagName      = 3<<3 | 2
	tagAliases   = 4<<3 | 2
)

// buffers encodes the response; nothing of a resource is copied.
func (r *response) buffers() mem.BufferSlice {
	if r.sotw {
		return r.stateBuffers()
	}
	out := make(mem.BufferSlice, 0, len(r.resources)+1)
	head := appendField(nil, tagTypeURL, r.typeURL)
	head = appendField(head, tagNonce, r.nonce)
	for _, name := range r.removed {
		head = appendField(head, tagRemoved, name)
	}
	for _, name := range r.absent {
		// A resource with a name, the name as alias and no body says that
		// there is none (Envoy's VHDS protocol).
		entry := appendField(appendField(nil, tagName, name), tagAliases, name)
		head = appendField(head, tagResources, string(entry))
	}
	out = append(out, mem.SliceBuffer(head))
	for _, res := range r.resources {
		out = append(out, res.Wire())
	}
	return out
}

func appendField(to []byte, tag byte, value string) []byte {
	return append(binary.AppendUvarint(append(to, tag), uint64(len(value))), value...)
}

// codec is gRPC's own, except that it knows *response.
type codec struct{ encoding.CodecV2 }

// NewCodec returns the codec that a gRPC server must be made with
// (grpc.ForceServerCodecV2) to serve this package's streams.
func NewCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*response); ok {
		return r.buffers(), nil
	}
	out, err := c.CodecV2.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return out, nil
}
