package bootstrap

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/envoybin"
)

// TestNearItsHeapsLimit: a real Envoy that has no memory left answers 503 to
// requests, and still tells its health and figures.
func TestNearItsHeapsLimit(t *testing.T) {
	envoy, err := envoybin.Ensure(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := exampleConfig(t.TempDir())
	c.MaxHeap = 1 << 20 // less than any Envoy has
	c.SocketMark = 0
	c.Node.IPs = []netip.Addr{loopback}
	c.Ports = Ports{Admin: freePort(t), Health: freePort(t), Prometheus: freePort(t)}
	b := Build(c)
	app := onePath{name: "app", path: "/", cluster: prometheusCluster, port: freePort(t)}
	listener := app.listener([]netip.Addr{loopback})
	listener.BypassOverloadManager = false
	b.StaticResources.Listeners = append(b.StaticResources.Listeners, listener)
	b.DynamicResources = nil // nobody serves it here
	raw, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), envoy, "--disable-hot-restart", "-l", "error", "--config-yaml", string(raw))
	cmd.Dir = filepath.Dir(c.XDSSocket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	answers(t, app.port, "/", http.StatusServiceUnavailable, "envoy overloaded")
	answers(t, c.Ports.Prometheus, "/stats/prometheus", http.StatusOK, "stop_accepting_requests_active")
}

// answers waits until a port answers so.
func answers(t *testing.T, port uint16, path string, status int, text string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for last := ""; ; {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == status && strings.Contains(string(body), text) {
				return
			}
			last = fmt.Sprintf("%d %.200s", resp.StatusCode, body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("port %d%s: %s, %v; want %d with %q", port, path, last, err, status, text)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}
