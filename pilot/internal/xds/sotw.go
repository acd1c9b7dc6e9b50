package xds

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// The state-of-the-world protocol, for gRPC libraries, which speak no other. It
// is served as a delta stream whose requests name what changed in the list of
// names, and whose answers are of listeners and clusters all that the client has
// asked for, of other types what changed (the xDS protocol's grouping). So
// acknowledgements, refusals and roll-backs are counted as everywhere.

// proxylessStreams is how many times as many streams a pod has whose libraries
// speak xDS: grpc-go opens one for each target.
const proxylessStreams = 8

// perPod is how many streams a proxy's pod may have.
func (s *Server) perPod(p model.Proxy) int {
	if p.Proxyless {
		return s.opts.MaxStreamsPerPod * proxylessStreams
	}
	return s.opts.MaxStreamsPerPod
}

// StreamAggregatedResources serves one stream until it ends, to clients that
// are no Envoys (node metadata GENERATOR: grpc). It never gives everything of a
// type, only what is named.
func (s *Server) StreamAggregatedResources(g discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.ended(g.Context(), s.serve(&sotwWire{stream: g, names: map[string][]string{}}))
}

// speaks refuses a client that speaks the protocol of the other kind.
func speaks(w wire, p model.Proxy) error {
	switch _, sotw := w.(*sotwWire); {
	case sotw && !p.Proxyless:
		return refuse(codes.Unimplemented, "node", "only delta ADS is served to Envoys: use api_type DELTA_GRPC (DeltaAggregatedResources); a gRPC library says GENERATOR: grpc in its node's metadata, as `weft grpc-bootstrap` writes it")
	case !sotw && p.Proxyless:
		return refuse(codes.InvalidArgument, "node", "node metadata GENERATOR is grpc: such a client speaks the state-of-the-world protocol (StreamAggregatedResources)")
	}
	return nil
}

// sotwWire shows a state-of-the-world stream as a delta one. Recv belongs to one
// goroutine.
type sotwWire struct {
	stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer
	names  map[string][]string // what was asked for last, by type; sorted
}

// maxStateNames bounds the list of names in one request. A process names what it
// calls.
const maxStateNames = 10_000

// Context implements wire.
func (w *sotwWire) Context() context.Context { return w.stream.Context() }

// SendMsg implements wire.
func (w *sotwWire) SendMsg(m any) error { return w.stream.SendMsg(m) }

// Recv implements wire.
func (w *sotwWire) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	req, err := w.stream.Recv()
	if err != nil {
		return nil, err
	}
	out := &discovery.DeltaDiscoveryRequest{Node: req.Node, TypeUrl: req.TypeUrl, ResponseNonce: req.ResponseNonce, ErrorDetail: req.ErrorDetail}
	if !served(req.TypeUrl) {
		return out, nil
	}
	if len(req.ResourceNames) > maxStateNames {
		return nil, fmt.Errorf("request names %d resources of %s, the limit is %d", len(req.ResourceNames), shortType(req.TypeUrl), maxStateNames)
	}
	now := slices.Clone(req.ResourceNames)
	slices.Sort(now)
	now = slices.Compact(now)
	before := w.names[req.TypeUrl]
	out.ResourceNamesSubscribe, out.ResourceNamesUnsubscribe = lackingIn(before, now), lackingIn(now, before)
	w.names[req.TypeUrl] = now
	return out, nil
}

// lackingIn are the names of of that in lacks; both are sorted.
func lackingIn(in, of []string) (out []string) {
	for _, name := range of {
		if _, found := slices.BinarySearch(in, name); !found {
			out = append(out, name)
		}
	}
	return out
}

// wholeStates are the types of which an answer names everything: what is not in
// it does not exist. Source: xDS protocol, "Grouping resources into responses".
var wholeStates = map[string]bool{snapshot.Cluster: true, snapshot.Listener: true}

// whole makes an answer of a state-of-the-world stream. s.mu is held.
func (s *stream) whole(w *watch, r *response) {
	r.sotw, r.absent, r.removed = true, nil, nil
	if !wholeStates[w.typeURL] {
		return
	}
	r.resources = r.resources[:0]
	for _, name := range w.names {
		for i := range w.lanes {
			if res, ok := w.lanes[i].sent.Get(name); ok {
				r.resources = append(r.resources, res)
				break
			}
		}
	}
}

// keepOthers notes that of a refused answer the client has taken all but the
// culprits, as gRPC does (gRFC A46).
func (w *watch) keepOthers(f *flight, culprits []item) {
	for _, it := range f.items {
		if slices.ContainsFunc(culprits, func(c item) bool { return c.name() == it.name() }) {
			continue
		}
		l := &w.lanes[it.lane]
		if it.res == nil {
			l.sent, l.acked = l.sent.Without(it.name()), l.acked.Without(it.name())
		} else {
			l.sent, l.acked = l.sent.With(it.name(), it.res), l.acked.With(it.name(), it.res)
		}
	}
}

// Tags of DiscoveryResponse (envoy/service/discovery/v3) and Any.
const (
	tagStateVersion   = 1<<3 | 2
	tagStateResources = 2<<3 | 2
	tagStateTypeURL   = 4<<3 | 2
	tagStateNonce     = 5<<3 | 2
	tagAnyType        = 1<<3 | 2
	tagAnyValue       = 2<<3 | 2
)

// stateBuffers encodes a DiscoveryResponse; no resource's body is copied.
func (r *response) stateBuffers() mem.BufferSlice {
	head := appendField(nil, tagStateVersion, r.nonce)
	head = appendField(head, tagStateTypeURL, r.typeURL)
	head = appendField(head, tagStateNonce, r.nonce)
	out := make(mem.BufferSlice, 0, 2*len(r.resources)+1)
	out = append(out, mem.SliceBuffer(head))
	for _, res := range r.resources {
		inner := appendField(nil, tagAnyType, res.Type)
		inner = binary.AppendUvarint(append(inner, tagAnyValue), uint64(len(res.Body)))
		any := binary.AppendUvarint([]byte{tagStateResources}, uint64(len(inner)+len(res.Body)))
		out = append(out, mem.SliceBuffer(append(any, inner...)), mem.SliceBuffer(res.Body))
	}
	return out
}
