package translate

import (
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What a stranger may take of a gateway.
const (
	headersWithin    = 10 * time.Second // from a request's first byte to its last header
	streamsAtOnce    = 100              // of a connection
	streamWindow     = 64 << 10         // bytes of a request that are not read yet
	connectionWindow = 1 << 20          // of all of a connection
)

// bounded makes a manager one that faces strangers. Not taken over from Envoy's
// guide are the time-outs of silent streams and of whole requests, which would
// end long gRPC streams and uploads that work with Istio.
// Source: Envoy, "Configuring Envoy as an edge proxy".
func (b *builder) bounded(m *hcm.HttpConnectionManager) {
	m.RequestHeadersTimeout = durationpb.New(headersWithin)
	m.Http2ProtocolOptions = &core.Http2ProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(streamsAtOnce),
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
	}
	underscores(m, b.Edge.Underscores)
}
