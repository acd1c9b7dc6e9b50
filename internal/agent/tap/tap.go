// Package tap shows what a proxy serves while it serves it: it receives the proxy's
// own log, by Envoy's access-log service on a Unix socket, and passes it to whoever
// watches.
//
// Inputs: Envoy's entries, and viewers' requests. Outputs: JSON lines for each
// viewer, and Envoy's word on whether to log at all, which is no while nobody
// watches. It may import no other package of the agent: whether a viewer may watch
// is decided before it comes here.
package tap

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	logservice "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/internal/tap"
)

// Bounds: how many may watch, how many entries wait for each of them, and how long
// one may take none before it is left.
const (
	maxViewers = 8
	maxWaiting = 512
	stalled    = 30 * time.Second
)

// Options are all that a Server depends on.
type Options struct {
	Self tap.Peer // this proxy's workload
	// PID is Envoy's process, 0 while there is none.
	PID func() int
	// Log tells Envoy to log, or not to.
	Log     func(ctx context.Context, on bool) error
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Server is the service and the page. Make it with New.
type Server struct {
	logservice.UnimplementedAccessLogServiceServer
	o       Options
	changed chan struct{} // somebody came or went
	stalled time.Duration
	dropped prometheus.Counter

	mu      sync.Mutex
	viewers map[*viewer]bool
}

// viewer is one who watches.
type viewer struct {
	filter  tap.Filter
	entries chan *tap.Entry
	watched chan struct{} // closed once Envoy logs
	closed  bool          // that watched is
	dropped uint64        // since the last entry that was taken
}

// New returns a Server that nobody watches.
func New(o Options) *Server {
	s := &Server{o: o, stalled: stalled, changed: make(chan struct{}, 1), viewers: map[*viewer]bool{}}
	s.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tap_entries_dropped_total", Help: "Live requests that a viewer of weft tap was too slow for."})
	o.Metrics.MustRegister(s.dropped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tap_viewers", Help: "Viewers of weft tap that watch this proxy's requests."}, func() float64 { return float64(s.watching()) }))
	return s
}

// Register puts the service onto g.
func (s *Server) Register(g *grpc.Server) { logservice.RegisterAccessLogServiceServer(g, s) }

// StreamAccessLogs takes Envoy's entries. It never waits for a viewer.
func (s *Server) StreamAccessLogs(stream logservice.AccessLogService_StreamAccessLogsServer) error {
	direction := tap.Outbound
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if name := m.GetIdentifier().GetLogName(); name != "" {
			direction = name
		}
		if s.watching() == 0 {
			continue
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			s.show(s.request(direction, e))
		}
		for _, e := range m.GetTcpLogs().GetLogEntry() {
			s.show(s.connection(direction, e))
		}
	}
}

func (s *Server) show(e *tap.Entry) {
	if e == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.viewers {
		if !v.filter.Match(e) {
			continue
		}
		own := *e
		own.Dropped = v.dropped
		select {
		case v.entries <- &own:
			v.dropped = 0
		default:
			v.dropped++
			s.dropped.Inc()
		}
	}
}

// ServeHTTP shows entries to one viewer until it goes, or takes none for long. The
// answer begins once Envoy logs: what ends after that is shown.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	filter, err := tap.Parse(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	v := &viewer{filter: filter, entries: make(chan *tap.Entry, maxWaiting), watched: make(chan struct{})}
	if !s.join(v) {
		http.Error(w, fmt.Sprintf("%d viewers watch this proxy already: end one of them", maxViewers), http.StatusServiceUnavailable)
		return
	}
	defer s.leave(v)
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the server's is for requests: nothing more is read
	select {
	case <-v.watched:
	case <-r.Context().Done():
		return
	case <-time.After(s.stalled):
		http.Error(w, "Envoy does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	_ = s.write(r.Context(), v, w, control) // a viewer that is gone needs no word
}

func (s *Server) write(ctx context.Context, v *viewer, w http.ResponseWriter, control *http.ResponseController) error {
	lines := json.NewEncoder(w)
	for {
		if len(v.entries) == 0 {
			if err := hasten(control, s.stalled, control.Flush); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-v.entries:
			if err := hasten(control, s.stalled, func() error { return lines.Encode(e) }); err != nil {
				return err
			}
		}
	}
}

// hasten gives one piece of writing its time, from now on: the wait for an entry may
// have been longer than any deadline that was set before it.
func hasten(control *http.ResponseController, limit time.Duration, write func() error) error {
	if err := control.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return write()
}

func (s *Server) watching() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.viewers)
}

func (s *Server) join(v *viewer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.viewers) >= maxViewers {
		return false
	}
	s.viewers[v] = true
	s.tell()
	return true
}

func (s *Server) leave(v *viewer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.viewers, v)
	s.tell()
}

// tell wakes Run; that it is awake is as well.
func (s *Server) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// again is how soon what Envoy did not take is said again, and an Envoy that was
// started anew found.
const again = time.Second

// Run has Envoy log while somebody watches, and only then: whatever an agent before
// this one left, and each time that Envoy starts anew.
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(again)
	defer tick.Stop()
	told, logs := 0, false // which Envoy, and what
	for {
		want, pid := s.watching() > 0, s.o.PID()
		if pid != 0 && (pid != told || want != logs) {
			if err := s.o.Log(ctx, want); err != nil {
				s.o.Logger.Debug("Envoy does not take whether to log", "error", err)
			} else {
				told, logs = pid, want
			}
		}
		if logs && told == pid {
			s.begin()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.changed:
		case <-tick.C:
		}
	}
}

// begin tells viewers that Envoy logs.
func (s *Server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.viewers {
		if !v.closed {
			v.closed = true
			close(v.watched)
		}
	}
}
