package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/envoybin"
)

// What a user's ProxyConfig adds.
var (
	userStats   = Stats{Prefixes: []string{"filesystem."}, Suffixes: []string{"runtime.num_layers"}, Regexps: []string{`http\.admin\.downstream_rq_t.*l`}}
	userRuntime = map[string]string{
		"re2.max_program_size.error_level": "", "envoy.reloadable_features.test_feature_true": "false", "some.number": "1000", "some.text": "word",
	}
)

// TestUserValues: a running Envoy keeps the statistics and has the runtime values
// that a user's ProxyConfig adds, and ours.
//
// Source: istio.io/api mesh/v1alpha1, ProxyConfig.proxyStatsMatcher and runtimeValues.
func TestUserValues(t *testing.T) {
	c := exampleConfig(t.TempDir())
	c.SocketMark = 0
	c.Node.IPs = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	admin := start(t, c)
	for _, name := range []string{"filesystem.write_completed", "runtime.num_layers", "http.admin.downstream_rq_total"} {
		if text := admin("/stats?filter=^" + name + "$"); text != "" {
			t.Errorf("nobody asked for %s: %q", name, text)
		}
	}
	c.Stats, c.Runtime = userStats, userRuntime
	admin = start(t, c)
	for _, name := range []string{"filesystem.write_completed", "runtime.num_layers", "http.admin.downstream_rq_total", "server.live"} {
		if text := admin("/stats?filter=^" + name + "$"); !strings.HasPrefix(text, name+": ") {
			t.Errorf("%s is not kept: %q", name, text)
		}
	}
	var got struct {
		Entries map[string]struct {
			Final string `json:"final_value"`
		}
	}
	if err := json.Unmarshal([]byte(admin("/runtime")), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range userRuntime {
		if got.Entries[name].Final != want {
			t.Errorf("runtime value %s is %q, want %q", name, got.Entries[name].Final, want)
		}
	}
}

// start runs an Envoy until the test ends; the answer asks its admin. Ports that are
// free when they are chosen may be taken when Envoy comes to them, and it ends: then it
// tries others.
func start(t *testing.T, c Config) (get func(path string) string) {
	t.Helper()
	for tries := 1; ; tries++ {
		c.Ports = Ports{Admin: freePort(t), Status: freePort(t), Health: freePort(t), Prometheus: freePort(t)}
		get, err := startOnce(t, c)
		if err == nil {
			return get
		}
		if tries == 3 {
			t.Fatal(err)
		}
		t.Log(err)
	}
}

// startOnce fails where Envoy ends.
func startOnce(t *testing.T, c Config) (get func(path string) string, err error) {
	t.Helper()
	path, err := envoybin.Ensure(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := JSON(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd := exec.CommandContext(t.Context(), path, "--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c", file)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the test ends it
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	ask := func(path string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+strconv.Itoa(int(c.Ports.Admin))+path, nil)
		if err != nil {
			return "", err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		return string(text), err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(2 * time.Minute); ; {
		if _, err = ask("/server_info"); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ended:
			return nil, fmt.Errorf("Envoy ended:\n%s", said.String())
		case <-deadline:
			t.Fatalf("Envoy's admin does not answer: %v", err)
		}
	}
	return func(path string) string {
		text, err := ask(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}, nil
}
