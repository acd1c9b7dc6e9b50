package xds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// stateClient is a state-of-the-world client that a test steps by hand.
type stateClient struct {
	t      *testing.T
	stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	node   *core.Node
}

func (w *world) stateClient(n *core.Node, opts ...grpc.DialOption) *stateClient {
	t := w.t.(*testing.T)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(w.dial(opts...)).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &stateClient{t: t, stream: stream, node: n}
}

func grpcNode(id string) *core.Node {
	n := node(id, nil)
	n.Metadata.Fields["GENERATOR"] = structpb.NewStringValue("grpc")
	return n
}

func (w *world) proxyless() *stateClient {
	return w.stateClient(grpcNode("sidecar~10.0.0.1~a.default~d"))
}

// ask sends the whole list of names of a type; refusal, if not empty, makes it a
// NACK.
func (c *stateClient) ask(short, nonce, refusal string, names ...string) {
	c.t.Helper()
	req := &discovery.DiscoveryRequest{Node: c.node, TypeUrl: typeNames[short], ResourceNames: names, ResponseNonce: nonce}
	if refusal != "" {
		req.ErrorDetail = &rpcstatus.Status{Code: 3, Message: refusal}
	}
	if err := c.stream.Send(req); err != nil {
		c.t.Fatal(err)
	}
	c.node = nil
}

// want receives an answer with these bodies and returns its nonce.
func (c *stateClient) want(short string, bodies ...string) string {
	c.t.Helper()
	resp, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	got := []string{}
	for _, r := range resp.Resources {
		if r.TypeUrl != typeNames[short] {
			c.t.Errorf("a resource of type %s", r.TypeUrl)
		}
		got = append(got, string(r.Value))
	}
	slices.Sort(got)
	if resp.TypeUrl != typeNames[short] || !slices.Equal(got, bodies) {
		c.t.Fatalf("got %s %q, want %s %q", resp.TypeUrl, got, short, bodies)
	}
	return resp.Nonce
}

// ends returns why the pilot ended the stream.
func (c *stateClient) ends() error {
	for {
		if _, err := c.stream.Recv(); err != nil {
			return err
		}
	}
}

// TestStateOfTheWorld: of clusters and listeners an answer names all that the
// client asked for, of others what changed; nothing else ever comes.
// Source: xDS protocol, "Grouping resources into responses".
func TestStateOfTheWorld(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.proxyless()
	c.ask("lds", "", "", "a:80", "b:80", "none:80")
	w.put("lds a:80=A", "lds b:80=B", "lds c:80=C", "rds a=1", "rds b=1", "cds x=X", "eds x=1")
	n := c.want("lds", "A", "B")
	c.ask("lds", n, "", "a:80", "b:80", "none:80")
	c.ask("rds", "", "", "a", "b")
	n = c.want("rds", "1", "1")
	c.ask("rds", n, "", "a", "b")
	w.put("rds a=2")
	n = c.want("rds", "2")
	c.ask("rds", n, "", "a", "b")
	w.put("lds a:80=A2")
	n = c.want("lds", "A2", "B")
	c.ask("lds", n, "", "a:80")
	w.put("lds b:80=B2", "lds c:80=C2", "lds a:80=A3") // b was given up
	n = c.want("lds", "A3")
	c.ask("lds", n, "", "a:80")
	w.put("lds a:80")
	c.want("lds")
}

// TestStateOfTheWorldIsNeverAll: no name, and the wildcard, give nothing.
func TestStateOfTheWorldIsNeverAll(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.proxyless()
	c.ask("cds", "", "")
	c.ask("lds", "", "", "*")
	w.put("cds x=X", "lds a:80=A", "rds a=1")
	first, err := c.stream.Recv()
	if err != nil || len(first.Resources) != 0 {
		t.Fatal(first, err)
	}
	second, err := c.stream.Recv()
	if err != nil || len(second.Resources) != 0 {
		t.Fatal(second, err)
	}
}

// TestStateOfTheWorldRefused: of a refused answer the client keeps the rest, and
// the culprit goes back to what it was.
func TestStateOfTheWorldRefused(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.proxyless()
	c.ask("lds", "", "", "a:80", "b:80")
	w.put("lds a:80=A", "lds b:80=B")
	c.ask("lds", c.want("lds", "A", "B"), "", "a:80", "b:80")
	w.put("lds a:80=bad", "lds b:80=B2")
	c.ask("lds", c.want("lds", "B2", "bad"), `resource "a:80": no`, "a:80", "b:80")
	c.ask("lds", c.want("lds", "A", "B2"), "", "a:80", "b:80")
	nacks := w.srv.Nacks()
	if len(nacks) != 1 || !slices.Equal(nacks[0].Resources, []string{"a:80"}) || !slices.Equal(nacks[0].Objects, []string{"VirtualService/default/a:80"}) {
		t.Errorf("recorded: %+v", nacks)
	}
	w.put("lds a:80=good")
	c.want("lds", "B2", "good")
}

// TestHostileStateClients: who asks for what there is not, for too much, or in
// another's name.
func TestHostileStateClients(t *testing.T) {
	w := newWorld(t, Options{MaxStreamsPerPod: 1})
	envoy := w.stateClient(node("sidecar~10.0.0.1~e.default~d", nil))
	envoy.ask("lds", "", "")
	if err := envoy.ends(); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "DELTA_GRPC") {
		t.Errorf("an Envoy by the state of the world: %v", err)
	}
	delta := w.connectAs(grpcNode("sidecar~10.0.0.1~g.default~d"))
	delta.request("lds", nil)
	if err := delta.ends(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a gRPC library by delta: %v", err)
	}
	greedy := w.proxyless()
	names := make([]string, maxStateNames+1)
	for i := range names {
		names[i] = fmt.Sprint("n", i)
	}
	greedy.ask("lds", "", "")
	greedy.ask("lds", "", "", names...)
	if err := greedy.ends(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "the limit is") {
		t.Errorf("more names than there may be: %v", err)
	}
	strange := w.proxyless()
	strange.ask("lds", "", "")
	go func() { // the pilot may end the stream while we send
		for i := range maxStrange + 1 {
			if strange.stream.Send(&discovery.DiscoveryRequest{TypeUrl: fmt.Sprint("type.googleapis.com/nobody.", i)}) != nil {
				return
			}
		}
	}()
	if err := strange.ends(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "types that are not served") {
		t.Errorf("a flood of types: %v", err)
	}
	for range proxylessStreams {
		w.proxyless().ask("lds", "", "")
	}
	eventually(t, "the pod's streams", func() bool { return len(w.srv.Streams()) == proxylessStreams })
	last := w.proxyless()
	last.ask("lds", "", "")
	if err := last.ends(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one stream too many: %v", err)
	}
}

// TestStateClientThatNeverReads is dropped; another is served meanwhile.
func TestStateClientThatNeverReads(t *testing.T) {
	w := newWorld(t, Options{AckTimeout: 400 * time.Millisecond})
	stuck := w.stateClient(grpcNode("sidecar~10.0.0.9~stuck.default~d"), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10), grpc.WithStaticStreamWindowSize(64<<10))
	stuck.ask("cds", "", "", "big")
	c := w.proxyless()
	c.ask("cds", "", "", "small")
	w.put("cds big="+strings.Repeat("x", 1<<20), "cds small=1")
	c.ask("cds", c.want("cds", "1"), "", "small")
	eventually(t, "the stuck stream's end", func() bool { return len(w.srv.Streams()) == 1 })
	w.put("cds small=2")
	c.want("cds", "2")
}
