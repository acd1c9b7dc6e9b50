package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/web"
)

const token = "fixture-token"

// once is what a browser is opened with.
const once = "fixture-once"

// server serves the real page, and what it is told of a mesh.
type server struct {
	*httptest.Server
	token  string // other than the fixture's
	mesh   atomic.Pointer[mesh]
	asked  atomic.Int64 // how often for /api/now
	window atomic.Value // that was asked for last
	tapped atomic.Int64 // pages that watch requests
}

// serve starts one at the address given, "" for any.
func serve(t *testing.T, m mesh, address string) *server {
	t.Helper()
	s := &server{}
	s.mesh.Store(&m)
	real := dashboard.New(dashboard.Options{
		Config: func(context.Context) (dashboard.Config, error) { return s.mesh.Load().config, nil },
		Object: func(_ context.Context, kind, namespace, name string) ([]byte, bool, error) {
			text, there := s.mesh.Load().objects[fmt.Sprintf("%s/%s/%s", kind, namespace, name)]
			return []byte(text), there, nil
		},
		Tap: s.tap, Assets: web.Assets(), Token: token, Once: once,
	}).Handler()
	// Figures are made up, for who has the token; all else is the real server's.
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch known := r.Header.Get("Authorization") == "Bearer "+token; {
		case known && r.URL.Path == "/api/now":
			s.asked.Add(1)
			s.window.Store(r.URL.Query().Get("window"))
			_ = json.NewEncoder(w).Encode(s.mesh.Load().now) // fails only where the page is gone
		case known && r.URL.Path == "/api/history":
			h := history()
			if r.URL.Query().Get("name") == "fresh" {
				h.Points = h.Points[:1]
			}
			switch r.URL.Query().Get("kind") {
			case "services":
				h.From = "recorder"
			case "pods":
				h.From, h.Failed = "agents", "prometheus (http://prometheus:9090): does not answer within 2s"
			}
			_ = json.NewEncoder(w).Encode(h)
		default:
			real.ServeHTTP(w, r)
		}
	}))
	_ = s.Listener.Close()
	s.Listener = listen(t, address)
	s.Start()
	t.Cleanup(s.stop)
	return s
}

// listen listens at an address, "" for a free one of those that the kernel gives
// nobody else: one that was left is free to be taken again.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		at := address
		if at == "" {
			at = fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		}
		listener, err := net.Listen("tcp", at)
		if err == nil {
			return listener
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// stop ends it as a killed process ends: connections break.
func (s *server) stop() {
	s.CloseClientConnections()
	s.Close()
}
