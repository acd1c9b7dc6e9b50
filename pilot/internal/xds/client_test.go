package xds

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// fakeDirectory puts a proxy into the class of its label "class".
type fakeDirectory struct{ pods map[string]*model.Workload }

func (d fakeDirectory) Workload(ns, pod string) *model.Workload { return d.pods[ns+"/"+pod] }

func (d fakeDirectory) At(ips []string) map[string][]*model.Workload {
	out := map[string][]*model.Workload{}
	for _, w := range d.pods {
		for _, ip := range w.Addresses {
			if slices.Contains(ips, ip) {
				out[ip] = append(out[ip], w)
			}
		}
	}
	return out
}

func (d fakeDirectory) Classes(p model.Proxy) []model.ProxyClass {
	return []model.ProxyClass{classNamed(p.Labels["class"])}
}

func classNamed(name string) model.ProxyClass {
	return model.ProxyClass{Role: model.RoleOutbound, Namespace: "default", Labels: name}
}

// world is a server with one class, "", that a test changes.
type world struct {
	t    testing.TB
	srv  *Server
	lis  *bufconn.Listener
	snap snapshot.Snapshot
}

func newWorld(t testing.TB, opts Options) *world {
	w := &world{t: t, srv: NewServer(opts), lis: bufconn.Listen(1 << 20)}
	g := w.srv.GRPC()
	go g.Serve(w.lis)
	t.Cleanup(g.Stop)
	w.srv.SetDirectory(fakeDirectory{})
	return w
}

// put sets resources, written TYPE NAME=BODY or TYPE NAME (removed), and
// publishes them for class "".
func (w *world) put(specs ...string) {
	w.snap = with(w.snap, specs...)
	w.publish("", w.snap)
}

func (w *world) publish(class string, snap snapshot.Snapshot) {
	eventually(w.t, "class "+class, func() bool {
		w.srv.mu.Lock()
		defer w.srv.mu.Unlock()
		return w.srv.classes[classNamed(class)] != nil
	})
	w.srv.Publish(classNamed(class), snap, time.Now())
}

// subscribed waits until every stream does, or does not, subscribe to a name.
func (w *world) subscribed(short, name string, want bool) {
	w.t.Helper()
	eventually(w.t, "subscription to "+name, func() bool {
		for _, st := range w.srv.list() {
			st.mu.Lock()
			ok := st.watches[typeNames[short]].names.has(name)
			st.mu.Unlock()
			if ok != want {
				return false
			}
		}
		return true
	})
}

var typeNames = map[string]string{
	"cds": snapshot.Cluster, "eds": snapshot.Endpoint, "lds": snapshot.Listener, "rds": snapshot.Route,
	"vhds": snapshot.VirtualHost, "sds": snapshot.Secret, "nds": snapshot.Name,
}

func with(snap snapshot.Snapshot, specs ...string) snapshot.Snapshot {
	for _, spec := range specs {
		short, rest, _ := strings.Cut(spec, " ")
		name, body, set := strings.Cut(rest, "=")
		typeURL := typeNames[short]
		t := snap.Of(typeURL).Without(name)
		if set {
			t = t.With(name, snapshot.New(typeURL, name, []byte(body), "VirtualService/default/"+name))
		}
		snap = snap.With(typeURL, t)
	}
	return snap
}

// client is a delta ADS client that records what it is sent.
type client struct {
	t      testing.TB
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	cancel context.CancelFunc
	first  *core.Node

	mu   sync.Mutex
	has  map[string]map[string]*discovery.Resource // type, name
	log  []string                                  // what came, in order: "+TYPE NAME=BODY", "-TYPE NAME", "=TYPE" (an empty answer)
	err  error
	nack func(short string, r *discovery.Resource) string // a text refuses the answer that holds r
	mute map[string]bool                                  // types that are not acknowledged
	held []*discovery.DeltaDiscoveryRequest               // ACKs of muted types
}

func node(id string, labels map[string]string) *core.Node {
	return &core.Node{Id: id, Metadata: metadata(labels)}
}

func (w *world) dial(opts ...grpc.DialOption) *grpc.ClientConn {
	opts = append([]grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	}, opts...)
	conn, err := grpc.NewClient("passthrough:///pilot", opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

func (w *world) connect() *client {
	return w.connectAs(node("sidecar~10.0.0.1~a.default~default.svc.cluster.local", nil))
}

func (w *world) connectAs(n *core.Node) *client {
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(w.dial()).DeltaAggregatedResources(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, stream: stream, cancel: cancel, first: n, has: map[string]map[string]*discovery.Resource{}, mute: map[string]bool{}}
	go c.run()
	return c
}

// request sends a request for a type; the first one carries the node.
func (c *client) request(short string, edit func(*discovery.DeltaDiscoveryRequest)) {
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: typeNames[short]}
	if edit != nil {
		edit(req)
	}
	c.send(req)
}

func (c *client) send(req *discovery.DeltaDiscoveryRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	req.Node, c.first = c.first, nil
	if err := c.stream.Send(req); err != nil {
		c.err = err
	}
}

func (c *client) subscribe(short string, names ...string) {
	c.request(short, func(r *discovery.DeltaDiscoveryRequest) { r.ResourceNamesSubscribe = names })
}

func (c *client) run() {
	for {
		m, err := c.stream.Recv()
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		if ack := c.take(m); ack != nil {
			c.send(ack)
		}
	}
}

func shortOf(typeURL string) string {
	for short, t := range typeNames {
		if t == typeURL {
			return short
		}
	}
	return typeURL
}

// take applies an answer as Envoy does, and returns its ACK or NACK.
func (c *client) take(m *discovery.DeltaDiscoveryResponse) *discovery.DeltaDiscoveryRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	short := shortOf(m.TypeUrl)
	if c.has[short] == nil {
		c.has[short] = map[string]*discovery.Resource{}
	}
	ack := &discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}
	for _, r := range m.Resources {
		c.log = append(c.log, "+"+short+" "+r.Name+"="+string(r.GetResource().GetValue()))
		if c.nack != nil {
			if text := c.nack(short, r); text != "" {
				ack.ErrorDetail = &rpcstatus.Status{Code: 13, Message: text}
			}
		}
	}
	for _, name := range m.RemovedResources {
		c.log = append(c.log, "-"+short+" "+name)
		delete(c.has[short], name)
	}
	if len(m.Resources)+len(m.RemovedResources) == 0 {
		c.log = append(c.log, "="+short)
	}
	if ack.ErrorDetail == nil {
		for _, r := range m.Resources {
			c.has[short][r.Name] = r
		}
	}
	if c.mute[short] {
		c.held = append(c.held, ack)
		return nil
	}
	return ack
}

// unmute sends the ACKs that were kept back.
func (c *client) unmute(short string) {
	c.mu.Lock()
	held := c.held
	c.held = nil
	delete(c.mute, short)
	c.mu.Unlock()
	for _, ack := range held {
		c.send(ack)
	}
}

// state is what the client holds: "cds a=1 b=2; eds ...".
func (c *client) state(shorts ...string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []string
	for _, short := range shorts {
		part := short
		for _, name := range slices.Sorted(maps.Keys(c.has[short])) {
			part += " " + name + "=" + string(c.has[short][name].GetResource().GetValue())
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// wait waits until the client holds want, written as state does.
func (c *client) wait(want string) {
	c.t.Helper()
	var shorts []string
	for part := range strings.SplitSeq(want, "; ") {
		short, _, _ := strings.Cut(part, " ")
		shorts = append(shorts, short)
	}
	eventually(c.t, want, func() bool { return c.state(shorts...) == want }, func() string { return c.state(shorts...) })
}

// waitLog waits until the lines came, in this order, and forgets the log.
func (c *client) waitLog(want ...string) {
	c.t.Helper()
	got := func() []string {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Clone(c.log)
	}
	eventually(c.t, strings.Join(want, ", "), func() bool { return slices.Equal(got(), want) }, func() string { return strings.Join(got(), ", ") })
	c.forget()
}

func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = nil
}

func (c *client) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// versions is what a client that reconnects names.
func (c *client) versions(short string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]string{}
	for name, r := range c.has[short] {
		out[name] = r.Version
	}
	return out
}

// eventually waits for a condition with a deadline.
func eventually(t testing.TB, what string, ok func() bool, got ...func() string) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			if len(got) > 0 {
				t.Fatalf("waited %v for:\n%s\nbut there is:\n%s", patience, what, got[0]())
			}
			t.Fatalf("waited %v for %s", patience, what)
		case <-tick.C:
		}
	}
}

type (
	proxy      = model.Proxy
	proxyClass = model.ProxyClass
)
