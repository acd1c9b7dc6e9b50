package envoy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestCountsAsTraffic(t *testing.T) {
	for name, want := range map[string]struct{ sidecar, router bool }{
		"0.0.0.0_15006":          {true, true},
		"[__]_15006":             {true, true},
		"virtualInbound":         {true, true},
		"0.0.0.0_15001":          {false, true},
		"0.0.0.0_8080":           {false, true},
		"0.0.0.0_15006.worker_0": {false, false},
		"admin":                  {false, false},
		"admin.main_thread":      {false, false},
		"health":                 {false, false},
		"prometheus":             {false, false},
	} {
		if got := countsAsTraffic(name, true); got != want.sidecar {
			t.Errorf("%s in a sidecar: %t", name, got)
		}
		if got := countsAsTraffic(name, false); got != want.router {
			t.Errorf("%s in a router: %t", name, got)
		}
	}
}

// TestReady goes through what an Envoy says from its start on.
func TestReady(t *testing.T) {
	var state int
	var stats string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			w.WriteHeader(state)
			_, _ = io.WriteString(w, "INITIALIZING\n")
			return
		}
		_, _ = io.WriteString(w, stats)
	}))
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s.Listener = l
	s.Start()
	defer s.Close()
	admin := NewAdmin(path)
	const cds, lds = "cluster_manager.cds.update_success: 1\n", "listener_manager.lds.update_success: 2\n"
	for _, c := range []struct {
		state       int
		stats, want string
	}{
		{503, cds + lds, "INITIALIZING"},
		{200, "", "no clusters"},
		{200, cds, "no listeners"},
		{200, lds, "no clusters"},
		{200, cds + lds, ""},
	} {
		state, stats = c.state, c.stats
		err := admin.Ready(t.Context())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d %q: %v", c.state, c.stats, err)
		}
	}
	s.Close()
	if admin.Ready(t.Context()) == nil {
		t.Error("an Envoy that is not there is ready")
	}
}

// script is a supervisor of a shell script instead of Envoy.
func script(t *testing.T, text string) (*Supervisor, string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return New(Options{
		Path: path, RunDir: dir, Output: os.Stderr, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
		Env: []string{"PATH=" + os.Getenv("PATH")},
	}), dir
}

func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func lines(path string) int {
	text, _ := os.ReadFile(path)
	return strings.Count(string(text), "\n")
}

// TestCrashLoop: it is started again and again, ever later.
func TestCrashLoop(t *testing.T) {
	s, dir := script(t, `echo x >> "$(dirname "$0")/starts"`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	begun := time.Now()
	go func() { ended <- s.Run(ctx) }()
	wait(t, "five starts", func() bool { return lines(filepath.Join(dir, "starts")) >= 5 })
	if took := time.Since(begun); took < 700*time.Millisecond {
		t.Errorf("five starts took no more than %v", took)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestDeaf: one that does not hear SIGTERM is killed.
func TestDeaf(t *testing.T) {
	s, dir := script(t, `trap '' TERM; echo x > "$(dirname "$0")/up"; while :; do sleep 0.1; done`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	wait(t, "the program runs", func() bool { return lines(filepath.Join(dir, "up")) == 1 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if s.PID() != 0 {
		t.Error("it still has a pid")
	}
	wait(t, "the lock is free", func() bool {
		lock, err := takeLock(filepath.Join(dir, "envoy.lock"))
		if err == nil {
			_ = lock.Close()
		}
		return err == nil
	})
}

func TestNoBinary(t *testing.T) {
	s, _ := script(t, "")
	s.o.Path = "/nowhere/envoy"
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--envoy") {
		t.Error(err)
	}
}

// TestForeignLock: a process that holds the lock, but not as an Envoy does, is
// neither adopted nor harmed.
func TestForeignLock(t *testing.T) {
	s, dir := script(t, "exit 0")
	path := filepath.Join(dir, "envoy.lock")
	lock, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "60")
	other.ExtraFiles = []*os.File{nil, lock} // as descriptor 4
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	_ = lock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), "no Envoy") {
		t.Error(err)
	}
	if other.ProcessState != nil {
		t.Error("the other process has ended")
	}
}
