package local

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/weftcli"
)

// upMesh names a mesh that the test starts by itself.
func upMesh(t *testing.T, dir string) *weftcli.Mesh {
	t.Helper()
	return &weftcli.Mesh{Binary: filepath.Join(binaries(t), "weft"), Dir: dir, Name: fmt.Sprintf("test-%d-%s", os.Getpid(), strings.NewReplacer("/", "-", "_", "-").Replace(strings.ToLower(t.Name()))), Progress: t.Output()}
}

// anyAlive is an error that names a process that still runs, and says what it
// is. One that has ended and waits for the machine's init to take note does not.
func anyAlive(pids []int) error {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		if status := string(text); !strings.Contains(status, "\nState:\tZ") && !strings.Contains(status, "\nState:\tX") {
			name, _, _ := strings.Cut(status, "\nUmask")
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			return fmt.Errorf("process %d is still there: %q %q", pid, name, cmdline)
		}
	}
	return nil
}

func TestTwoMeshesSideBySide(t *testing.T) {
	first, second := up(t, folder(t)), up(t, folder(t))
	for _, m := range []*running{first, second} {
		if status, _, body := m.get(t, "/"); status != 200 {
			t.Errorf("%s: %d %s", m.Name, status, body)
		}
	}
	if out, err := weft(t.Context(), first, "down", first.Dir); err != nil {
		t.Fatalf("weft down DIR: %v %s", err, out)
	}
	if status, _, _ := second.get(t, "/"); status != 200 {
		t.Errorf("the other mesh answers %d now", status)
	}
}

func TestDownLeavesNothing(t *testing.T) {
	m := up(t, folder(t))
	pids := m.pids(t)
	if out, err := weft(t.Context(), m, "down", "--name", m.Name); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, 10*time.Second, "all processes are gone", func() error { return anyAlive(pids) })
	address := strings.TrimSuffix(strings.TrimPrefix(m.url, "http://"), "/")
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the gateway's port is still taken: %v", err)
	}
	_ = l.Close()
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	m := &running{Mesh: upMesh(t, folder(t))}
	out, err := weft(t.Context(), m, "up", m.Dir, "--detach", "--name", m.Name, "--publish", "80="+l.Addr().String())
	if err == nil || !strings.Contains(out, l.Addr().String()) || !strings.Contains(out, "--publish 80=") {
		t.Fatalf("got %v:\n%s", err, out)
	}
}

func TestInterruptStopsAForegroundMesh(t *testing.T) {
	m := up(t, folder(t))
	pids := m.pids(t)
	if err := syscall.Kill(pids[0], syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "all processes are gone", func() error { return anyAlive(pids) })
}
