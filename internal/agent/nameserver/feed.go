package nameserver

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/data/dns/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// TypeURL is the resource that carries one name of the mesh.
const TypeURL = "type.googleapis.com/envoy.data.dns.v3.DnsTable.DnsVirtualDomain"

// Feed fills a Table from the pilot.
type Feed struct {
	Table *Table
	Node  *corev3.Node             // as which the agent subscribes
	Conn  grpc.ClientConnInterface // to the pilot; its calls wait for it
	Log   *slog.Logger
}

// The wait before a stream that ended is opened again.
const (
	reconnectFirst = 50 * time.Millisecond
	reconnectMax   = time.Second
)

// Run keeps one subscription open until ctx ends. The table stays as it is
// while the pilot is away.
func (f *Feed) Run(ctx context.Context) error {
	wait, last := reconnectFirst, ""
	for ctx.Err() == nil {
		begun := time.Now()
		err := f.stream(ctx)
		if reason := fmt.Sprint(err); reason != last && ctx.Err() == nil { // not the same line each second
			f.Log.Info("DNS stream ended", "reason", reason)
			last = reason
		}
		if time.Since(begun) > reconnectMax {
			wait = reconnectFirst
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, reconnectMax)
	}
	return ctx.Err()
}

func (f *Feed) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(f.Conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node:                    f.Node,
		TypeUrl:                 TypeURL,
		ResourceNamesSubscribe:  []string{"*"},
		InitialResourceVersions: f.Table.held(),
	}); err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := stream.Send(f.take(response)); err != nil {
			return err
		}
	}
}

// take applies one response and returns what it is answered with.
func (f *Feed) take(r *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeURL, ResponseNonce: r.GetNonce()}
	changes, err := readChanges(r)
	if err == nil {
		err = f.Table.apply(changes)
	}
	if err != nil {
		f.Log.Error("DNS table refused", "error", err)
		ack.ErrorDetail = &status.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
	}
	return ack
}

func readChanges(r *discoveryv3.DeltaDiscoveryResponse) ([]change, error) {
	out := make([]change, 0, len(r.GetResources())+len(r.GetRemovedResources()))
	for _, name := range r.GetRemovedResources() {
		out = append(out, change{resource: name})
	}
	for _, resource := range r.GetResources() {
		domain := new(dnsv3.DnsTable_DnsVirtualDomain)
		if err := resource.GetResource().UnmarshalTo(domain); err != nil {
			return nil, fmt.Errorf("nameserver: resource %q: %w", resource.GetName(), err)
		}
		out = append(out, change{resource: resource.GetName(), version: resource.GetVersion(), domain: domain})
	}
	return out, nil
}
