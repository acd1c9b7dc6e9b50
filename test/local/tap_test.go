package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/internal/tap"
	"github.com/weftmesh/weft/test/weftcli"
)

// tapping is a weft tap that runs.
type tapping struct {
	cmd  *exec.Cmd
	over chan error

	mu    sync.Mutex
	seen  []tap.Entry
	lines []string // of text
}

// watch starts weft tap and returns once it says that it watches. If it ends before,
// as where the machine stalls and a pod does not answer in time, it is begun again.
func watch(t *testing.T, m *running, args ...string) (v *tapping) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("weft tap %v watches", args), func() (err error) {
		v, err = begin(t, m, args...)
		return err
	})
	return v
}

// begin starts weft tap once; the error is what it said if it ended.
func begin(t *testing.T, m *running, args ...string) (*tapping, error) {
	t.Helper()
	v := &tapping{cmd: exec.Command(m.Binary, append([]string{"tap", "--name", m.Name}, args...)...), over: make(chan error, 1)}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := v.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.cmd.Process.Kill() })
	problems := bufio.NewReader(said)
	for before := ""; ; {
		line, err := problems.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("%s%s: %w", before, line, errors.Join(err, v.cmd.Wait()))
		}
		if strings.HasPrefix(line, "watching ") {
			break
		}
		before += line
	}
	var read sync.WaitGroup
	read.Go(func() { _, _ = io.Copy(io.Discard, problems) })
	read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			v.take(lines.Text())
		}
	})
	go func() {
		read.Wait()
		v.over <- v.cmd.Wait()
	}()
	return v, nil
}

func (v *tapping) take(line string) {
	var e tap.Entry
	err := json.Unmarshal([]byte(line), &e)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lines = append(v.lines, line); err == nil {
		v.seen = append(v.seen, e)
	}
}

// find waits for an entry.
func (v *tapping) find(t *testing.T, what string, is func(tap.Entry) bool) {
	t.Helper()
	eventually(t, patience, what, func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, e := range v.seen {
			if is(e) {
				return nil
			}
		}
		return fmt.Errorf("there is %+v", v.seen)
	})
}

// ends waits for the command's end.
func (v *tapping) ends(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case err := <-v.over:
		return err
	case <-ctx.Done():
		return errors.New("weft tap does not end")
	}
}

// TestTap watches traffic of all protocols at both ends, by several viewers at once.
func TestTap(t *testing.T) {
	dir := folder(t)
	text, err := os.ReadFile(filepath.Join("testdata", "telemetry.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "telemetry.yaml"), strings.ReplaceAll(string(text), "BIN", binaries(t)))
	save(t, filepath.Join(dir, "denied.yaml"), `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-secrets}
spec:
  selector: {matchLabels: {app: details}}
  action: DENY
  rules: [{to: [{operation: {paths: ["/secret*"]}}]}]
`)
	m := up(t, dir)
	m.awaitAll(t)
	front, details := watch(t, m, "front", "-o", "json"), watch(t, m, "svc/details", "-o", "json")
	denied, bytes := watch(t, m, "svc/details", "--path", "/secret", "--status", "4xx", "--max", "1", "-o", "json"), watch(t, m, "deploy/bytes", "-o", "json")
	silent, plain := watch(t, m, "details", "--method", "DELETE"), watch(t, m, "istio-ingressgateway", "--max", "1")

	if status, _, body := m.get(t, "/"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	inPod := func(deployment string, command ...string) {
		t.Helper()
		if err := execIn(t.Context(), m, deployment, command...); err != nil {
			t.Fatal(err)
		}
	}
	inPod("front", "curl", "-s", "-o", "/dev/null", "http://details/secret?x=1")
	inPod("front", filepath.Join(binaries(t), "bookshop"), "grpc-load", "--target", "stars:9000", "--calls", "1")
	inPod("front", "curl", "-sf", "http://bytes:7000/")
	inPod("legacy", "curl", "-sf", "http://bytes:7000/")

	frontID := "spiffe://cluster.local/ns/default/sa/front"
	front.find(t, "what the gateway asks", func(e tap.Entry) bool {
		return e.Direction == tap.Inbound && e.From.Workload == "istio-ingressgateway" && e.To.Workload == "front" && e.Status == 200 && e.Path == "/" && e.Millis > 0 && e.Sent > 0
	})
	front.find(t, "what front asks", func(e tap.Entry) bool {
		return e.Direction == tap.Outbound && e.From.Workload == "front" && e.To.Workload == "details" && e.To.Principal == "spiffe://cluster.local/ns/default/sa/details" &&
			strings.HasPrefix(e.To.Pod, "details-") && e.Authority == "details" && e.RequestID != "" && strings.HasSuffix(e.Cluster, "details.default.svc.cluster.local")
	})
	front.find(t, "a call of gRPC", func(e tap.Entry) bool { return e.To.Workload == "stars" && e.GRPC == "OK" && e.Method == "POST" })
	front.find(t, "a connection's end", func(e tap.Entry) bool {
		return e.Protocol == "TCP" && e.Event == tap.Closed && e.To.Workload == "bytes" && e.Received > 0 && e.Sent > 0
	})
	details.find(t, "front's request, at its server", func(e tap.Entry) bool {
		return e.Direction == tap.Inbound && e.From.Workload == "front" && e.From.Principal == frontID && strings.HasPrefix(e.From.Pod, "front-") && e.Route != ""
	})
	denied.find(t, "the policy that denied", func(e tap.Entry) bool {
		return e.Denied == "default/no-secrets" && e.Path == "/secret?x=1" && e.Status == 403
	})
	bytes.find(t, "a connection by mutual TLS", func(e tap.Entry) bool { return e.Event == tap.Opened && e.From.Principal == frontID })
	bytes.find(t, "a caller that proved nothing", func(e tap.Entry) bool {
		return e.Event == tap.Closed && e.From.Principal == "" && strings.HasPrefix(e.From.Pod, "legacy-") && e.Sent > 0
	})
	for what, v := range map[string]*tapping{"--max 1": denied, "--max 1 as text": plain} {
		if err := v.ends(t); err != nil || len(v.lines) != 1 {
			t.Fatalf("%s: %v, %q", what, err, v.lines)
		}
	}
	if line := plain.lines[0]; !strings.Contains(line, "out weft-system/istio-ingressgateway-") || !strings.Contains(line, " > default/front-") || !strings.Contains(line, " 200 ") {
		t.Error(line)
	}
	for what, v := range map[string]*tapping{"front": front, "details": details, "bytes": bytes, "nothing": silent} {
		if err := v.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := v.ends(t); err != nil {
			t.Errorf("after Ctrl-C the viewer of %s: %v", what, err)
		}
	}
	if len(silent.lines) != 0 {
		t.Errorf("nobody deletes, but %q", silent.lines)
	}
	tapRefuses(t, m)
}

// tapRefuses: what cannot be watched is said, another pod is not answered, and once
// nobody watches no Envoy logs.
func tapRefuses(t *testing.T, m *running) {
	t.Helper()
	for name, says := range map[string]string{"nosuch": `pod "nosuch": there is none`, "legacy": "has no proxy", "svc/nosuch": `service "nosuch": there is none`} {
		if out, err := weft(t.Context(), m, "tap", name, "--name", m.Name); err == nil || !strings.Contains(out, says) {
			t.Errorf("weft tap %s: %v, %s", name, err, out)
		}
	}
	pods, err := m.PodsOf(t.Context(), "details")
	if err != nil {
		t.Fatal(err)
	}
	legacy, err := m.PodsOf(t.Context(), "legacy")
	if err != nil {
		t.Fatal(err)
	}
	page, err := m.Exec(t.Context(), legacy[0].Namespace+"/"+legacy[0].Name, "curl", "-s", "-m", "120", "http://"+pods[0].IP+":15020/tap")
	if err != nil || !strings.Contains(string(page), "only from loopback") {
		t.Errorf("another pod is told %q, %v", page, err)
	}
	eventually(t, patience, "no Envoy logs", func() error {
		for _, p := range append(pods, mustPods(t, m, "front")...) {
			text, err := m.Exec(t.Context(), p.Namespace+"/"+p.Name, "curl", "-s", "127.0.0.1:15000/runtime")
			var values struct {
				Entries map[string]struct {
					Final string `json:"final_value"`
				} `json:"entries"`
			}
			if err = errors.Join(err, json.Unmarshal(text, &values)); err != nil || values.Entries["weft.tap"].Final != "0" {
				return fmt.Errorf("%s: %+v, %w", p.Name, values, err)
			}
		}
		return nil
	})
}

func mustPods(t *testing.T, m *running, deployment string) []weftcli.Pod {
	t.Helper()
	pods, err := m.PodsOf(t.Context(), deployment)
	if err != nil {
		t.Fatal(err)
	}
	return pods
}
