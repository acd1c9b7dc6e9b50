package xds

import (
	"context"
	"fmt"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// BenchmarkEncode compares one answer with all clusters of a mesh, for one
// stream: shared bytes against serialising the message, as
// go-control-plane's server does for each stream.
func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		shared := &response{typeURL: snapshot.Cluster, nonce: "1"}
		message := &discovery.DeltaDiscoveryResponse{TypeUrl: snapshot.Cluster, Nonce: "1"}
		for i := range n {
			r := snapshot.New(snapshot.Cluster, fmt.Sprintf("outbound|80||svc-%05d.bench.svc.cluster.local", i), make([]byte, 1000))
			shared.resources = append(shared.resources, r)
			message.Resources = append(message.Resources, &discovery.Resource{Name: r.Name, Version: r.Version, Resource: &anypb.Any{TypeUrl: r.Type, Value: r.Body}})
		}
		c := NewCodec()
		for name, v := range map[string]any{"shared": shared, "serialised": message} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					out, err := c.Marshal(v)
					if err != nil {
						b.Fatal(err)
					}
					out.Free()
				}
			})
		}
	}
}

// pipe is a stream without a network: its client acknowledges at once.
type pipe struct {
	ctx  context.Context
	reqs chan *discovery.DeltaDiscoveryRequest
	got  chan<- struct{}
}

func (p *pipe) Context() context.Context { return p.ctx }

func (p *pipe) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	select {
	case r := <-p.reqs:
		return r, nil
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

func (p *pipe) SendMsg(m any) error {
	r := m.(*response)
	p.reqs <- &discovery.DeltaDiscoveryRequest{TypeUrl: r.typeURL, ResponseNonce: r.nonce}
	p.got <- struct{}{}
	return nil
}

// BenchmarkPush publishes one changed virtual host of 2,000 to all streams
// and waits until each has sent it: the server's own work, without gRPC.
func BenchmarkPush(b *testing.B) {
	for _, streams := range []int{100, 1000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			s := NewServer(Options{MaxStreamsPerPod: streams})
			s.SetDirectory(fakeDirectory{})
			ctx, cancel := context.WithCancel(peer.NewContext(context.Background(), &peer.Peer{}))
			defer cancel()
			got := make(chan struct{}, 4*streams)
			wait := func(n int) {
				for range n {
					<-got
				}
			}
			for range streams {
				p := &pipe{ctx: ctx, reqs: make(chan *discovery.DeltaDiscoveryRequest, 8), got: got}
				p.reqs <- &discovery.DeltaDiscoveryRequest{TypeUrl: snapshot.Route, ResourceNamesSubscribe: []string{"80"}, Node: node("sidecar~10.0.0.1~a.default~d", nil)}
				p.reqs <- &discovery.DeltaDiscoveryRequest{TypeUrl: snapshot.VirtualHost}
				go func() { _ = s.serve(p) }()
			}
			var specs []string
			for i := range 2000 {
				specs = append(specs, fmt.Sprintf("vhds 80/host-%04d=%01000d", i, i))
			}
			snap := with(with(snapshot.Snapshot{}, specs...), "rds 80=1")
			eventually(b, "all streams", func() bool { return len(s.list()) == streams })
			s.Publish(classNamed(""), snap, time.Time{})
			wait(2 * streams)
			eventually(b, "all acknowledged", func() bool { return settled(s) })
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				snap = with(snap, fmt.Sprintf("vhds 80/host-0007=%d", i))
				s.Publish(classNamed(""), snap, time.Time{})
				wait(streams)
			}
		})
	}
}
