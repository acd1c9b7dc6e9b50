package appprobe

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// app answers with what it was asked.
func app(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	switch {
	case host != "127.0.0.6" || r.UserAgent() != "kube-probe/1.36":
		http.Error(w, "a probe from "+host+" "+r.UserAgent(), http.StatusTeapot)
	case r.URL.Path == "/ready" && r.URL.RawQuery == "a=b" && r.Host == "shop.example" && r.Header.Get("X-Probe") == "1":
	case r.URL.Path == "/there":
		http.Redirect(w, r, "/ready", http.StatusFound)
	case r.URL.Path == "/away":
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	case r.URL.Path == "/slow":
		<-r.Context().Done()
	default:
		http.Error(w, "sick", http.StatusInternalServerError)
	}
}

func portOf(t *testing.T, address net.Addr) uint16 {
	t.Helper()
	return uint16(address.(*net.TCPAddr).Port)
}

func TestHandler(t *testing.T) {
	plain, secure := httptest.NewServer(http.HandlerFunc(app)), httptest.NewTLSServer(http.HandlerFunc(app))
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	httpPort, httpsPort := portOf(t, plain.Listener.Addr()), portOf(t, secure.Listener.Addr())
	grpcPort := healthServer(t)
	headers := []Header{{"Host", "shop.example"}, {"X-Probe", "1"}}
	for name, c := range map[string]struct {
		probe Probe
		want  int
	}{
		"http":              {Probe{HTTPGet: &HTTPGet{Path: "/ready?a=b", Port: httpPort, Headers: headers}}, 200},
		"http, relative":    {Probe{HTTPGet: &HTTPGet{Path: "ready?a=b", Port: httpPort, Headers: headers}}, 200},
		"https":             {Probe{HTTPGet: &HTTPGet{Path: "/ready?a=b", Port: httpsPort, Scheme: "HTTPS", Headers: headers}}, 200},
		"the app's status":  {Probe{HTTPGet: &HTTPGet{Path: "/", Port: httpPort}}, 500},
		"redirect, same":    {Probe{HTTPGet: &HTTPGet{Path: "/there", Port: httpPort}}, 500},
		"redirect, away":    {Probe{HTTPGet: &HTTPGet{Path: "/away", Port: httpPort}}, 302},
		"too slow":          {Probe{HTTPGet: &HTTPGet{Path: "/slow", Port: httpPort}, TimeoutSeconds: 1}, 503},
		"nobody":            {Probe{HTTPGet: &HTTPGet{Path: "/", Port: 1}}, 503},
		"tcp":               {Probe{TCPSocket: &TCPSocket{Port: httpPort}}, 200},
		"tcp, nobody":       {Probe{TCPSocket: &TCPSocket{Port: 1}}, 503},
		"grpc":              {Probe{GRPC: &GRPC{Port: grpcPort}}, 200},
		"grpc, not serving": {Probe{GRPC: &GRPC{Port: grpcPort, Service: "sick"}}, 503},
		"grpc, unknown":     {Probe{GRPC: &GRPC{Port: grpcPort, Service: "who"}}, 503},
		"grpc, not grpc":    {Probe{GRPC: &GRPC{Port: httpPort}}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := New(map[string]Probe{"/app-health/app/readyz": c.probe}, netip.MustParseAddr("127.0.0.1"), slog.New(slog.DiscardHandler))
			r := httptest.NewRequest(http.MethodGet, "/app-health/app/readyz", nil)
			r.Header.Set("User-Agent", "kube-probe/1.36")
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != c.want {
				t.Errorf("%d %s, want %d", w.Code, w.Body, c.want)
			}
			w = httptest.NewRecorder()
			if h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/app-health/app/livez", nil)); w.Code != http.StatusNotFound {
				t.Errorf("an unknown path gives %d", w.Code)
			}
		})
	}
}

func healthServer(t *testing.T) uint16 {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, state := grpc.NewServer(), health.NewServer()
	state.SetServingStatus("sick", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(server, state)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return portOf(t, listener.Addr())
}

func TestParse(t *testing.T) {
	want := map[string]Probe{
		"/app-health/app/readyz":      {HTTPGet: &HTTPGet{Path: "/r", Port: 80, Scheme: "HTTPS", Headers: []Header{{"a", "b"}}}, TimeoutSeconds: 3},
		"/app-lifecycle/app/prestopz": {HTTPGet: &HTTPGet{Path: "/bye", Port: 80}},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(string(text))
	if again, _ := json.Marshal(got); err != nil || string(again) != string(text) {
		t.Errorf("%v: %s", err, again)
	}
	for text, want := range map[string]string{
		"[]":                                    "JSON object",
		`{"/metrics":{"tcpSocket":{"port":1}}}`: "/metrics",
		`{"/app-health/a/livez":{}}`:            "want one of",
		`{"/app-health/a/livez":{"tcpSocket":{"port":0}}}`:                     "want one of",
		`{"/app-health/a/livez":{"tcpSocket":{"port":1},"grpc":{"port":1}}}`:   "want one of",
		`{"/app-health/a/livez":{"tcpSocket":{"port":70000}}}`:                 "JSON object",
		`{"/app-health/a/livez":{"tcpSocket":{"port":7},"timeoutSeconds":-1}}`: "want one of",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
