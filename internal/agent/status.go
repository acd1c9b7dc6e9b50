package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// status is the agent's HTTP port, 15020: health, merged metrics, and on
// loopback the two orders that a pre-stop hook gives.
type status struct {
	*http.ServeMux
	log     *slog.Logger
	check   func(context.Context) error
	quit    chan struct{} // closed by POST /quitquitquit
	drain   chan struct{} // closed by POST /drain
	created time.Time
	startup prometheus.Gauge

	wasReady chan struct{} // closed when the pod is ready for the first time
	leaving  chan struct{} // closed when draining begins

	mu       sync.Mutex
	ready    bool      // the last answer
	draining time.Time // zero while not
}

func newStatus(log *slog.Logger, metrics http.Handler, check func(context.Context) error, istio prometheus.Registerer, by dialler) *status {
	s := &status{
		ServeMux: http.NewServeMux(), log: log, check: check, created: time.Now(),
		quit: make(chan struct{}), drain: make(chan struct{}), wasReady: make(chan struct{}), leaving: make(chan struct{}),
		startup: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "startup_duration_seconds", Help: "From the agent's start to the first time it was ready."}),
	}
	istio.MustRegister(s.startup)
	s.HandleFunc("GET /healthz/ready", s.serveReady)
	s.Handle("GET /stats/prometheus", metrics)
	s.Handle("GET /metrics", metrics)
	s.HandleFunc("POST /quitquitquit", order(by, s.quit))
	s.HandleFunc("POST /drain", order(by, s.drain))
	return s
}

func (s *status) serveReady(w http.ResponseWriter, r *http.Request) {
	err := s.check(r.Context())
	if !s.drainBegan().IsZero() {
		err = fmt.Errorf("draining")
	}
	s.note(err)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// note logs each change of readiness, once, and times the first.
func (s *status) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ready := err == nil; ready == s.ready {
		return
	}
	s.ready = !s.ready
	if !s.ready {
		s.log.Warn("not ready", "reason", err)
		return
	}
	took := time.Since(s.created)
	if !s.created.IsZero() {
		s.startup.Set(took.Seconds())
		s.created = time.Time{}
		close(s.wasReady)
		s.log.Info("ready", "after", took)
		return
	}
	s.log.Info("ready again")
}

// startDrain reports whether this call was the first.
func (s *status) startDrain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining.IsZero() {
		return false
	}
	s.draining = time.Now()
	close(s.leaving)
	return true
}

// drainBegan is zero while the agent is not draining.
func (s *status) drainBegan() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// order closes c when a caller in the pod asks for it, who may end it anyway.
func order(by dialler, c chan struct{}) http.HandlerFunc {
	var once sync.Once
	return fromPod(by, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(c) })
		fmt.Fprintln(w, "ok")
	})
}

// fromPod answers callers in the pod alone, and who comes by the API server or by a
// local mesh's own. 127.0.0.6, from which Envoy passes inbound traffic on, is not
// in the pod. Nor is a client of this Envoy, which whoever configures a shared gateway
// may have call its own loopback: what it dialled is refused, and what has a proxy's
// headers.
func fromPod(by dialler, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if at := from.Addr().Unmap(); err != nil || at != localhost && at != netip.IPv6Loopback() {
			http.Error(w, "only from loopback", http.StatusForbidden)
			return
		}
		to, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if own, err := by.dialled(from, to); own || err != nil || forwarded(r.Header) {
			http.Error(w, "not by way of a proxy", http.StatusForbidden)
			return
		}
		serve(w, r)
	}
}

// forwarded says whether a request has a header that Envoy adds to what it passes on.
// It proves nothing where there are none: a route may take them away again.
func forwarded(h http.Header) bool {
	for name := range h {
		switch {
		case name == "X-Request-Id", name == "X-Forwarded-Proto", name == "X-Forwarded-For", strings.HasPrefix(name, "X-Envoy-"):
			return true
		}
	}
	return false
}

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// namesGrace is how long the pod's readiness waits for the pilot's names: an
// app that starts without them would find nobody.
const namesGrace = 5 * time.Second

// ready reports why the pod cannot take traffic; nil when it can: a certificate
// is held, names are known, and Envoy has its configuration.
func (a *agent) ready(ctx context.Context) error {
	if a.certificates != nil && a.certificates.Current() == nil {
		return fmt.Errorf("no certificate yet")
	}
	if a.names != nil && !a.names.Synced() && time.Since(a.began) < namesGrace {
		return fmt.Errorf("no names from the pilot yet")
	}
	if a.envoy.PID() == 0 {
		return fmt.Errorf("envoy is not running")
	}
	return a.admin.Ready(ctx)
}
