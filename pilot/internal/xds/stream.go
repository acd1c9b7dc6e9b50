package xds

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// stream is one client's delta ADS stream. Two goroutines work on it: one
// receives and changes the watches, one sends what next gives.
type stream struct {
	srv       *Server
	id        uint64
	connected time.Time
	wake      chan struct{} // holds one token: look whether there is something to send

	mu        sync.Mutex
	claim     model.Proxy // as identity and node say; labels may be the client's own
	proxy     model.Proxy // what is in force
	classes   []*class
	watches   map[string]*watch
	held      map[string]struct{} // route tables that the client was sent
	warming   map[string]struct{} // new clusters without endpoints yet
	warmUntil time.Time
	resumed   bool        // the client came back with something
	nonce     uint64      // of the last answer
	answers   []*response // to what is no subscription
	reports   int         // of ejections
	strange   int         // requests for types that are not served
	sotw      bool        // it speaks state of the world
}

// wire is the part of a gRPC stream that is used.
type wire interface {
	Context() context.Context
	Recv() (*discovery.DeltaDiscoveryRequest, error)
	SendMsg(m any) error
}

// maxStrange bounds requests for types that the pilot does not serve.
const maxStrange = 100

func newStream(srv *Server, id uint64, proxy model.Proxy) *stream {
	return &stream{
		srv: srv, id: id, connected: time.Now(), claim: proxy, proxy: proxy, wake: make(chan struct{}, 1),
		watches: map[string]*watch{}, held: map[string]struct{}{}, warming: map[string]struct{}{}, sotw: proxy.Proxyless,
	}
}

// poke makes the sender look.
func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ready reports whether every class of the proxy has been published.
func (s *stream) ready() bool {
	for _, c := range s.classes {
		if c.now.Load() == nil {
			return false
		}
	}
	return len(s.classes) > 0
}

// receive takes requests until the stream ends.
func (s *stream) receive(w wire, first *discovery.DeltaDiscoveryRequest) error {
	for req := first; ; {
		var err error
		switch req.TypeUrl {
		case healthType:
			s.srv.heard(s.claim, req)
		case ejectionType:
			s.ejected(req)
		default:
			err = s.request(req)
		}
		if err != nil {
			return err
		}
		if req, err = w.Recv(); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
}

// send sends answers until the stream ends.
func (s *stream) send(w wire) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		resp, again := s.next(time.Now())
		if resp != nil {
			if err := w.SendMsg(resp); err != nil {
				return fmt.Errorf("send %s: %w", shortType(resp.typeURL), err)
			}
			s.srv.metrics.pushed(resp)
			continue
		}
		if again == 0 {
			again = time.Hour
		}
		timer.Reset(again)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-w.Context().Done():
			return w.Context().Err()
		}
	}
}

// request takes one request: a subscription, an ACK, a NACK, or several of
// these at once.
func (s *stream) request(req *discovery.DeltaDiscoveryRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !served(req.TypeUrl) {
		s.strange++
		s.srv.metrics.strange.Inc()
		if s.strange > maxStrange {
			return fmt.Errorf("more than %d requests for types that are not served, the last for %.200q", maxStrange, req.TypeUrl)
		}
		return nil
	}
	s.intern(req)
	w := s.watches[req.TypeUrl]
	if w == nil {
		w = newWatch(req.TypeUrl, len(s.classes))
		w.denied, w.named = Withheld(req.TypeUrl, s.proxy), s.sotw
		s.watches[req.TypeUrl] = w
		s.poke()
		return w.open(req)
	}
	if w.flight != nil && req.ResponseNonce == w.flight.nonce {
		s.verdict(w, req)
	}
	if err := w.change(req); err != nil {
		return err
	}
	if req.TypeUrl == snapshot.Route {
		for _, name := range req.ResourceNamesUnsubscribe {
			delete(s.held, name)
		}
	}
	if s.busy() {
		s.poke()
	}
	return nil
}

// intern replaces the names of a request by the snapshot's own strings, so
// that streams share them.
func (s *stream) intern(req *discovery.DeltaDiscoveryRequest) {
	for i, name := range req.ResourceNamesSubscribe {
		for _, c := range s.classes {
			if res, ok := c.of(req.TypeUrl).Get(name); ok {
				req.ResourceNamesSubscribe[i] = res.Name
			}
		}
	}
}

// Withheld reports whether a proxy is given nothing of a type: secrets go to
// proxies whose identity is proven, and to no one else. Which secrets, the
// proxy's class decides: those that it needs, of the namespace that it proved.
func Withheld(typeURL string, p model.Proxy) bool {
	return typeURL == snapshot.Secret && !p.Proven
}

func served(typeURL string) bool {
	for _, t := range order {
		if t == typeURL {
			return true
		}
	}
	return false
}

// busy reports whether the sender may have something to do.
func (s *stream) busy() bool {
	if len(s.warming) > 0 {
		return true
	}
	for _, w := range s.watches {
		if w.kept > 0 || w.flight == nil && s.unsettled(w) {
			return true
		}
	}
	return false
}

// waits is how long the oldest answer has been without its ACK or NACK. A
// client holds one answer of each type at most, so it costs no more memory
// while it does not read.
func (s *stream) waits(now time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		if w.flight != nil {
			longest = max(longest, now.Sub(w.flight.at))
		}
	}
	return longest
}

// verdict takes the ACK or NACK of the answer in flight.
func (s *stream) verdict(w *watch, req *discovery.DeltaDiscoveryRequest) {
	f, now := w.flight, time.Now()
	defer s.srv.move()
	if req.ErrorDetail == nil {
		routesWaited := len(s.warming) > 0
		w.ack()
		s.srv.metrics.acked(w.typeURL, f, now)
		if routesWaited {
			s.warmed(w.typeURL, f.items, true)
		}
		return
	}
	message := clip(req.ErrorDetail.Message)
	culprits := w.nack(message, now)
	if s.sotw && len(culprits) > 0 {
		w.keepOthers(f, culprits)
	}
	s.warmed(w.typeURL, culprits, false)
	s.srv.metrics.nacked(w.typeURL)
	s.srv.log.note(s.proxy, w, f, culprits, message)
	for _, it := range culprits {
		slog.Warn("a proxy refused a resource; it keeps the last one that it took", "proxy", s.proxy.ID, "type", shortType(w.typeURL),
			"resource", it.name(), "objects", sources(it), "reason", message)
	}
}

// clip bounds what is kept of a client's text.
func clip(text string) string {
	const limit = 2048
	if len(text) > limit {
		return text[:limit] + "..."
	}
	return text
}

func sources(it item) []string {
	if it.res == nil {
		return nil
	}
	return it.res.Sources
}

// move sets the classes of the stream.
func (s *stream) move(proxy model.Proxy, classes []*class) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proxy, s.classes = proxy, classes
	for _, w := range s.watches {
		w.resize(len(classes))
	}
	s.poke()
}
