package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/test/weftcli"
)

// patience bounds each wait for what takes seconds at most: a busy machine may stall
// for longer. How long it took is logged.
const patience = time.Minute

// running is a mesh of a copy of testdata.
type running struct {
	*weftcli.Mesh
	url string
}

// binaries is the absolute path of bin/.
func binaries(t *testing.T) string {
	t.Helper()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "weft")); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return bin
}

// folder copies testdata to a folder of its own.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"mesh.yaml", "route.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(dir, name), strings.ReplaceAll(string(text), "BIN", binaries(t)))
	}
	return dir
}

func save(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// up starts a mesh of dir. The test's end takes it down.
func up(t *testing.T, dir string, flags ...string) *running {
	t.Helper()
	port, err := weftcli.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := &running{
		Mesh: &weftcli.Mesh{Binary: filepath.Join(binaries(t), "weft"), Dir: dir, Name: fmt.Sprintf("test-%d-%d", os.Getpid(), port), Progress: t.Output()},
		url:  fmt.Sprintf("http://127.0.0.1:%d/", port),
	}
	t.Cleanup(func() { _, _ = weft(context.Background(), m, "down", "--name", m.Name) })
	args := append([]string{"up", dir, "--detach", "--name", m.Name, "--publish", fmt.Sprintf("80=127.0.0.1:%d", port)}, flags...)
	if out, err := weft(t.Context(), m, args...); err != nil {
		t.Fatalf("weft up: %v\n%s", err, out)
	}
	return m
}

// weft runs the command and returns all that it printed.
func weft(ctx context.Context, m *running, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, m.Binary, args...).CombinedOutput()
	return string(out), err
}

// awaitAll waits until every pod is ready and in sync.
func (m *running) awaitAll(t *testing.T) {
	t.Helper()
	m.await(t, patience, "all pods are ready and in sync", func(pods []weftcli.Pod) bool {
		return len(pods) >= 6 && !slices.ContainsFunc(pods, func(p weftcli.Pod) bool { return !p.Ready || p.Synced == "no" })
	})
}

func (m *running) await(t *testing.T, within time.Duration, what string, want func([]weftcli.Pod) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	start := time.Now()
	if err := m.Await(ctx, what, want); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: after %v", what, time.Since(start).Round(time.Millisecond))
}

// eventually waits until a check holds.
func eventually(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	start, deadline := time.Now(), time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			t.Logf("%s: after %v", what, time.Since(start).Round(time.Millisecond))
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited %v in vain until %s: %v", within, what, err)
		case <-tick.C:
		}
	}
}

// get is one request through the gateway.
func (m *running) get(t *testing.T, path string) (status int, header http.Header, body string) {
	t.Helper()
	resp, err := http.Get(m.url + strings.TrimPrefix(path, "/"))
	if err != nil {
		return 0, nil, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return resp.StatusCode, resp.Header, string(text)
}

// steady is load on the gateway until its end.
type steady struct {
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	all    int
	failed []load.Outcome
}

func (m *running) steady(t *testing.T) *steady {
	ctx, cancel := context.WithCancel(t.Context())
	s := &steady{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_ = load.Run(ctx, load.Plan{URL: m.url, RPS: 100, Workers: 8}, func(o load.Outcome) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.all++; o.Failed() {
				s.failed = append(s.failed, o)
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-s.done })
	return s
}

func (s *steady) count() (all, failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, len(s.failed)
}

// failures are those so far.
func (s *steady) failures() []load.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.failed)
}

// lasts waits until n more requests were answered.
func (s *steady) lasts(t *testing.T, n int) {
	t.Helper()
	start, _ := s.count()
	eventually(t, 30*time.Second, "load goes on", func() error {
		if all, _ := s.count(); all < start+n {
			return fmt.Errorf("%d of %d requests", all-start, n)
		}
		return nil
	})
}

// pid finds a process of the mesh: of a pod, by the name of its binary.
func (m *running) pid(t *testing.T, pod, binary string) int {
	t.Helper()
	pid, ok := m.find(t, pod, binary)
	if !ok {
		t.Fatalf("pod %s runs no %s", pod, binary)
	}
	return pid
}

func (m *running) find(t *testing.T, pod, binary string) (int, bool) {
	t.Helper()
	for _, pid := range m.pids(t) {
		host, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/etc/hostname", pid)) // its pod's
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		program, _, _ := strings.Cut(string(cmdline), "\x00")
		if filepath.Base(program) == binary && strings.TrimSpace(string(host)) == pod {
			return pid, true
		}
	}
	return 0, false
}

// pids are all processes below the mesh's supervisor, itself first.
func (m *running) pids(t *testing.T) (out []int) {
	t.Helper()
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	for _, file := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1])
		if cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(cmdline), "\x00up\x00") && strings.Contains(string(cmdline), m.Name) {
			out = append(out, pid)
		}
	}
	for i := 0; i < len(out); i++ {
		for pid, parent := range parents {
			if parent == out[i] {
				out = append(out, pid)
			}
		}
	}
	return out
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
