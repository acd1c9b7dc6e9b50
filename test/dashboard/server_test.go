package dashboard

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/web"
)

const token = "fixture-token"

// policy is what the real server sends too.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// server serves the real page, and what it is told of a mesh.
type server struct {
	*httptest.Server
	mesh  atomic.Pointer[mesh]
	asked atomic.Int64 // how often for /api/now

	mu      sync.Mutex
	refused []string // requests without the token
}

// serve starts one at the address given, "" for any.
func serve(t *testing.T, m mesh, address string) *server {
	t.Helper()
	s := &server{}
	s.mesh.Store(&m)
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(web.Assets()))
	mux.HandleFunc("GET /api/now", s.answer(func(*http.Request) any { s.asked.Add(1); return s.mesh.Load().now }))
	mux.HandleFunc("GET /api/config", s.answer(func(*http.Request) any { return s.mesh.Load().config }))
	mux.HandleFunc("GET /api/history", s.answer(func(*http.Request) any { return history() }))
	mux.HandleFunc("GET /api/object", s.answer(func(r *http.Request) any {
		q := r.URL.Query()
		return s.mesh.Load().objects[fmt.Sprintf("%s/%s/%s", q.Get("kind"), q.Get("namespace"), q.Get("name"))]
	}))
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	}))
	if address != "" {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Listener.Close()
		s.Listener = listener
	}
	s.Start()
	t.Cleanup(s.stop)
	return s
}

// stop ends it as a killed process ends: connections break.
func (s *server) stop() {
	s.CloseClientConnections()
	s.Close()
}

func (s *server) answer(of func(*http.Request) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refused = append(s.refused, r.URL.Path)
			http.Error(w, "token", http.StatusUnauthorized)
			return
		}
		switch body := of(r).(type) {
		case string:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprint(w, body)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(body) // fails only where the page is gone
		}
	}
}
