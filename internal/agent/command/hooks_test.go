package command

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/internal/agent/node"
)

// runHook runs a subcommand against an agent that answers with serve.
func runHook(t *testing.T, serve http.HandlerFunc, args ...string) error {
	t.Helper()
	s := httptest.NewServer(serve)
	defer s.Close()
	root := New("v1")
	root.SetArgs(append(args, "--status-port", strconv.Itoa(s.Listener.Addr().(*net.TCPAddr).Port)))
	return root.ExecuteContext(t.Context())
}

func TestWait(t *testing.T) {
	var asked atomic.Int32
	if err := runHook(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz/ready" || asked.Add(1) < 3 {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}, "wait"); err != nil || asked.Load() != 3 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	err := runHook(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no certificate yet", 503) }, "wait", "--timeout", "1ms")
	if err == nil || !strings.Contains(err.Error(), "no certificate yet") && !strings.Contains(err.Error(), "deadline") {
		t.Errorf("the reason is %v", err)
	}
}

func TestDrain(t *testing.T) {
	var asked string
	if err := runHook(t, func(_ http.ResponseWriter, r *http.Request) { asked = r.Method + r.URL.Path }, "drain"); err != nil || asked != "POST/drain" {
		t.Errorf("%s: %v", asked, err)
	}
	if runHook(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 403) }, "drain") == nil {
		t.Error("a refusal is no success")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// This test's own server, if nothing else, listens as another user than 1.
	if _, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := until(ctx, func(context.Context) error { return appEnded(1) }); err == nil || !strings.Contains(err.Error(), "listens on") {
		t.Errorf("while the app listens: %v", err)
	}
}

func TestListeners(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3A98 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 1 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
`
	if n := listeners(table, 1337); n != 1 {
		t.Errorf("%d, want the app's one", n)
	}
}

func TestLabelsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "labels")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("app=\"carts\"\ntopology.kubernetes.io/zone=\"a\"\nempty=\"\"\nodd=\"q\\\"=\"\n")
	o, err := parse(environment(`ISTIO_METAJSON_LABELS={"app":"reviews","version":"v1"}`), "--labels-file", file)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"app": "carts", "version": "v1", "topology.kubernetes.io/zone": "a", "empty": "", "odd": `q"=`} {
		if got := o.Node.Labels[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	write("app=carts\n")
	if _, err := parse(environment(), "--labels-file", file); err == nil || !strings.Contains(err.Error(), "--labels-file") {
		t.Errorf("an unquoted value: %v", err)
	}
	pod := node.Node{}
	if err := (&flags{labelsFile: "/nowhere"}).addLabels(&pod); err == nil {
		t.Error("a file that is not there is no error")
	}
}
