package sds

import "time"

// reconnects is the longest that Envoy waits before it opens a stream again, 30 s
// and some. Source: envoy.config.core.v3.GrpcService, "retry_policy".
const reconnects = 35 * time.Second

// Taken is what Envoy works with: the last certificate chain and the last roots
// that each of its subscriptions has acknowledged, nil before. What nobody subscribes to
// counts as taken, for who asks gets the newest; but not until an Envoy that
// lives on with what it had, while the agent or the stream began anew, has had
// the time to ask.
func (s *Server) Taken() (chain, roots []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, held := range s.secrets {
		if s.acknowledged(name, held.version) {
			s.taken[name] = held.public
		}
	}
	return s.taken[Workload], s.taken[Roots]
}

// acknowledged reports whether every stream that has asked for a name has taken
// that version.
func (s *Server) acknowledged(name, version string) bool {
	asks := false
	for t := range s.streams {
		got, asked := t.acked[name]
		if asked && got != version {
			return false
		}
		asks = asks || asked
	}
	return asks || time.Since(s.alone) >= s.reconnects
}

// open and close keep the list of streams.
func (s *Server) open(t *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[t] = true
}

func (s *Server) close(t *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, t)
	s.alone = time.Now()
}

// asked notes a subscription to a name, of which Envoy has a version already or
// none; gone its end.
func (t *stream) asked(name, version string) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.acked[name] = version
}

func (t *stream) gone(name string) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	delete(t.acked, name)
}

// answered notes what Envoy said to the response of a nonce: taken, or refused
// with a message. A request without a nonce answers none.
func (t *stream) answered(nonce, refusal string) {
	sent := t.sent[nonce]
	delete(t.sent, nonce)
	if refusal != "" {
		t.server.log.Error("Envoy refused a secret", "reason", refusal)
		return
	}
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	for name, version := range sent {
		if _, asked := t.acked[name]; asked {
			t.acked[name] = version
		}
	}
}
