package xds

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// Directory says what the mesh knows of proxies. It is called by any
// goroutine.
type Directory interface {
	// Workload returns a pod, or nil.
	Workload(namespace, pod string) *model.Workload
	// At returns the pods with each of these IPs.
	At(ips []string) map[string][]*model.Workload
	// Classes returns the classes of a proxy, at least one, in a stable
	// order (outbound before inbound).
	Classes(p model.Proxy) []model.ProxyClass
}

// Options of a Server; the zero value gives the defaults named.
type Options struct {
	MaxStreams       int           // default 20,000
	MaxStreamsPerPod int           // default 16
	PodWait          time.Duration // how long a proven, unknown pod is waited for; default 10 s
	AckTimeout       time.Duration // after which a client that does not answer is dropped; default 5 min
	Metrics          prometheus.Registerer
	// Health is called, and must not wait, with what processes outside of the
	// cluster say of themselves; nil: nobody wants to know.
	Health func(Health)
	// Ejected is called, and must not wait, with the pods that proxies begin to leave
	// out; nil: nobody wants to know.
	Ejected func(Ejection)
}

// Server holds the classes and streams. Its methods may be called from any
// goroutine.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	opts    Options
	metrics *metrics
	log     nackLog
	wanted  chan struct{} // holds one token: a class without a snapshot is asked for
	moved   chan struct{} // holds one token: see Moved

	mu      sync.Mutex
	dir     Directory
	dirSet  chan struct{} // closed when dir is replaced
	classes map[model.ProxyClass]*class
	streams map[uint64]*stream
	pods    map[string]int // streams by "namespace/name"
	lastID  uint64
}

// NewServer returns a server without any class. It serves nothing before the
// first SetDirectory.
func NewServer(opts Options) *Server {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&opts.MaxStreams, 20_000)
	def(&opts.MaxStreamsPerPod, 16)
	if opts.PodWait == 0 {
		opts.PodWait = 10 * time.Second
	}
	if opts.AckTimeout == 0 {
		opts.AckTimeout = 5 * time.Minute
	}
	s := &Server{
		opts: opts, wanted: make(chan struct{}, 1), moved: make(chan struct{}, 1), dirSet: make(chan struct{}),
		classes: map[model.ProxyClass]*class{}, streams: map[uint64]*stream{}, pods: map[string]int{},
	}
	s.metrics = newMetrics(opts.Metrics, s)
	return s
}

// Limits of a connection.
const (
	maxMessage        = 16 << 20  // bytes of a request: a reconnect names all that the client has
	window            = 256 << 10 // bytes of requests under way
	streamsPerConn    = 16 * proxylessStreams
	handshakeTimeout  = 10 * time.Second
	firstRequestLimit = 10 * time.Second
	// startWait is how long clients wait for a pilot that starts.
	startWait = time.Minute
)

// GRPC returns a gRPC server that serves s, with limits set; extra carries
// its credentials.
func (s *Server) GRPC(extra ...grpc.ServerOption) *grpc.Server {
	g := grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(NewCodec()),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(streamsPerConn),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxHeaderListSize(16 << 10),
		// A fixed window spares the pings by which gRPC measures one, at every
		// ACK of every proxy.
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(window),
		// Proxies send little, and seldom get much.
		grpc.ReadBufferSize(4 << 10),
		// Pings find clients that are gone, and close those that never read.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}, extra...)...)
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
	return g
}

// DeltaAggregatedResources serves one stream until it ends.
func (s *Server) DeltaAggregatedResources(g discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.ended(g.Context(), s.serve(g))
}

// ended says why a stream ended, and returns what the client is told.
func (s *Server) ended(ctx context.Context, err error) error {
	if clientLeft(ctx, err) {
		return nil
	}
	reason := refusalOf(err)
	s.metrics.refusedStreams.WithLabelValues(reason.label).Inc()
	slog.Warn("xDS stream refused", "reason", err.Error(), "peer", peerAddress(ctx))
	return status.Error(reason.code, err.Error())
}

// clientLeft reports whether a stream ended by its client's will.
func clientLeft(ctx context.Context, err error) bool {
	return err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil || status.Code(err) == codes.Canceled
}

func (s *Server) serve(w wire) error {
	st, first, err := s.admit(w)
	if err != nil {
		return err
	}
	defer s.leave(st)
	done := make(chan error, 2)
	go guard(done, func() error { return st.receive(w, first) })
	go guard(done, func() error { return st.send(w) })
	watch := time.NewTicker(s.opts.AckTimeout / 4)
	defer watch.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-w.Context().Done():
			return w.Context().Err()
		case now := <-watch.C:
			if st.waits(now) > s.opts.AckTimeout {
				return refuse(codes.DeadlineExceeded, "slow", "proxy %s has neither acknowledged nor refused an answer for %v", st.claim.ID, s.opts.AckTimeout)
			}
		}
	}
}

// guard runs f, and turns a panic into an error: one stream's fault is not
// another's.
func guard(done chan<- error, f func() error) {
	defer func() {
		if r := recover(); r != nil {
			slog.Error("panic in an xDS stream", "panic", r, "stack", string(debug.Stack()))
			done <- refuse(codes.Internal, "internal", "internal error")
		}
	}()
	done <- f()
}

// admit reads the first request and decides who the client is.
func (s *Server) admit(w wire) (*stream, *discovery.DeltaDiscoveryRequest, error) {
	first, err := receiveFirst(w)
	if err != nil {
		return nil, nil, err
	}
	proxy, err := parseNode(first.Node)
	if err != nil {
		return nil, nil, refuse(codes.InvalidArgument, "node", "%w", err)
	}
	if err := speaks(w, proxy); err != nil {
		return nil, nil, err
	}
	id, secure, err := identity(w.Context())
	if err != nil {
		return nil, nil, refuse(codes.Unauthenticated, "identity", "%w", err)
	}
	if secure {
		if proxy, err = prove(proxy, id); err != nil {
			return nil, nil, refuse(codes.PermissionDenied, "identity", "%w", err)
		}
	}
	st, err := s.enter(w.Context(), proxy)
	return st, first, err
}

// receiveFirst waits for the first request, but not for ever.
func receiveFirst(w wire) (*discovery.DeltaDiscoveryRequest, error) {
	type result struct {
		req *discovery.DeltaDiscoveryRequest
		err error
	}
	got := make(chan result, 1)
	go func() {
		req, err := w.Recv()
		got <- result{req, err}
	}()
	select {
	case r := <-got:
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return nil, refuse(status.Code(r.err), "garbage", "receive: %w", r.err)
		}
		return r.req, r.err
	case <-time.After(firstRequestLimit):
		return nil, refuse(codes.DeadlineExceeded, "slow", "no request within %v", firstRequestLimit)
	case <-w.Context().Done():
		return nil, w.Context().Err()
	}
}

// enter makes the proxy's stream, waiting a while for a directory, and for a
// pod whose certificate is older than the pilot's knowledge of it.
func (s *Server) enter(ctx context.Context, claim model.Proxy) (*stream, error) {
	start := time.Now()
	for {
		st, changed, err := s.tryEnter(claim)
		wait := startWait
		if errors.Is(err, errUnknownPod) {
			wait = s.opts.PodWait
		} else if !errors.Is(err, errNotReady) {
			return st, err
		}
		select {
		case <-changed:
		case <-time.After(wait - time.Since(start)):
			return nil, lateRefusal(err)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func lateRefusal(err error) error {
	if errors.Is(err, errNotReady) {
		return refuse(codes.Unavailable, "starting", "%w", err)
	}
	return refuse(codes.PermissionDenied, "pod", "%w", err)
}

func (s *Server) tryEnter(claim model.Proxy) (*stream, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == nil {
		return nil, s.dirSet, errNotReady
	}
	proxy, err := known(claim, s.dir.Workload(claim.Namespace, claim.Name))
	if errors.Is(err, errUnknownPod) {
		return nil, s.dirSet, err
	} else if err != nil {
		return nil, nil, refuse(codes.PermissionDenied, "identity", "%w", err)
	}
	pod := podKey(claim)
	if len(s.streams) >= s.opts.MaxStreams || s.pods[pod] >= s.perPod(claim) {
		return nil, nil, refuse(codes.ResourceExhausted, "limit", "too many streams: %d in all, %d of pod %s", len(s.streams), s.pods[pod], pod)
	}
	s.lastID++
	st := newStream(s, s.lastID, claim)
	s.streams[st.id] = st
	s.pods[pod]++
	s.place(st, proxy)
	return st, nil, nil
}

func podKey(p model.Proxy) string { return p.Namespace + "/" + p.Name }

// place puts a stream into the classes of its proxy; s.mu is held.
func (s *Server) place(st *stream, proxy model.Proxy) {
	keys := s.dir.Classes(proxy)
	if len(keys) == len(st.classes) && slices.EqualFunc(keys, st.classes, func(k model.ProxyClass, c *class) bool { return k == c.key }) {
		st.mu.Lock()
		st.proxy = proxy
		st.mu.Unlock()
		return
	}
	classes := make([]*class, len(keys))
	for i, key := range keys {
		c := s.classes[key]
		if c == nil {
			c = &class{key: key, streams: map[*stream]struct{}{}}
			s.classes[key] = c
		}
		classes[i] = c
		if c.now.Load() == nil {
			s.want()
		}
	}
	s.unplace(st)
	for _, c := range classes {
		c.streams[st] = struct{}{}
	}
	st.move(proxy, classes)
}

func (s *Server) unplace(st *stream) {
	for _, c := range st.classes {
		delete(c.streams, st)
		if len(c.streams) == 0 {
			c.idle = time.Now()
		}
	}
}

func (s *Server) want() {
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

func (s *Server) leave(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.move()
	s.unplace(st)
	delete(s.streams, st.id)
	pod := podKey(st.claim)
	if s.pods[pod]--; s.pods[pod] <= 0 {
		delete(s.pods, pod)
	}
}

// SetDirectory replaces what is known of proxies. Streams whose classes differ
// now are moved without a reconnect.
func (s *Server) SetDirectory(d Directory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dir = d
	close(s.dirSet)
	s.dirSet = make(chan struct{})
	for _, st := range s.streams {
		proxy, err := known(st.claim, d.Workload(st.claim.Namespace, st.claim.Name))
		if err == nil { // a pod that is gone keeps what it has until it ends
			s.place(st, proxy)
		}
	}
}

// Wanted is signalled when a class without a snapshot is asked for.
func (s *Server) Wanted() <-chan struct{} { return s.wanted }

// Classes returns the classes to keep up to date, and forgets those that have
// had no stream for longer than idle.
func (s *Server) Classes(idle time.Duration) (all, missing []model.ProxyClass) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.classes {
		if len(c.streams) == 0 && time.Since(c.idle) > idle {
			delete(s.classes, key)
			continue
		}
		all = append(all, key)
		if c.now.Load() == nil {
			missing = append(missing, key)
		}
	}
	return all, missing
}

// Publish gives a class its new state and wakes its streams if anything
// differs. since is the time of the event that caused it, zero if none. It
// returns how many resources changed. A class that nobody asked for is left
// out.
func (s *Server) Publish(key model.ProxyClass, snap snapshot.Snapshot, since time.Time) int {
	s.mu.Lock()
	c := s.classes[key]
	s.mu.Unlock()
	if c == nil {
		return 0
	}
	old := c.now.Load()
	ed, moved, changed := step(old, snap, since)
	if !moved && old != nil {
		return 0
	}
	c.now.Store(ed)
	defer s.move()
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range c.streams {
		st.poke()
	}
	return changed
}
