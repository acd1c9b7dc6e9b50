package shop

import (
	"net/http"
	"strings"

	"google.golang.org/grpc/metadata"
)

// carried are the request headers that a service passes on to the services it
// calls, in lower case. A mesh can join the spans of one request only if the
// app carries them; end-user is the shop's own, for routes by header.
// Source: Istio, "Distributed tracing overview: trace context propagation".
var carried = []string{
	"x-request-id", "traceparent", "tracestate", "baggage",
	"b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
	"end-user",
}

// forward copies the carried headers that in has to out.
func forward(in, out http.Header) {
	for _, name := range carried {
		for _, value := range in.Values(name) {
			out.Add(name, value)
		}
	}
}

// forwardMetadata is forward for a gRPC call.
func forwardMetadata(in http.Header) metadata.MD {
	out := metadata.MD{}
	for _, name := range carried {
		out.Append(name, in.Values(name)...)
	}
	return out
}

// peerOf reads HeaderPeer from the metadata of a gRPC call.
func peerOf(md metadata.MD) string {
	return strings.Join(md.Get(HeaderPeer), ",")
}
