package agent_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestProxylessIsForItsGroup: what an agent without Envoy writes can be read by
// its group, where it is told so, and by nobody else; it is not the process's
// mask that decides.
func TestProxylessIsForItsGroup(t *testing.T) {
	for _, group := range []bool{true, false} {
		p := newPod(t, newTestCA(t), "127.0.0.1:1")
		p.config.Options.Proxyless, p.config.Options.GroupAccess = true, group
		mask := syscall.Umask(0o077)
		p.start()
		syscall.Umask(mask)
		eventually(t, "the agent is ready", func() bool { code, _, _ := get(p.statusURL("/healthz/ready")); return code == http.StatusOK })
		for name, want := range map[string][2]fs.FileMode{
			"": {0o700, 0o750}, "..data": {0o700, 0o750}, "grpc-bootstrap.json": {0o600, 0o640}, "key.pem": {0o600, 0o640},
			"cert-chain.pem": {0o600, 0o640}, "root-cert.pem": {0o600, 0o640}, "xds.sock": {0o600, 0o660}, "agent.lock": {0o600, 0o600},
		} {
			i := 0
			if group {
				i = 1
			}
			info, err := os.Stat(filepath.Join(p.config.Options.RunDir, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want[i] {
				t.Errorf("group %v: %q has mode %o, want %o", group, name, got, want[i])
			}
		}
	}
}

// TestProxylessDrain: the app's pre-stop hook is answered once clients have had
// the time to learn that the pod ends; until then the pod is not ready any more.
func TestProxylessDrain(t *testing.T) {
	p := newPod(t, newTestCA(t), "127.0.0.1:1")
	p.config.Options.Proxyless = true
	p.config.Options.Drain.Min = 700 * time.Millisecond
	p.start()
	ready := func() bool { code, _, _ := get(p.statusURL("/healthz/ready")); return code == http.StatusOK }
	eventually(t, "the agent is ready", ready)
	answered := make(chan int, 1)
	go func() {
		code, _, _ := get(p.statusURL("/drained"))
		answered <- code
	}()
	began := time.Now()
	if resp, err := http.Post(p.statusURL("/drain"), "", nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	eventually(t, "readiness fails", func() bool { return !ready() })
	if code := <-answered; code != http.StatusOK || time.Since(began) < p.config.Options.Drain.Min {
		t.Errorf("the hook was answered %d after %v", code, time.Since(began))
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
