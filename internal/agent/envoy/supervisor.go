// Package envoy runs the pod's Envoy: it starts it, starts it again when it
// crashes, adopts one that a killed agent left behind, drains and stops it.
//
// Inputs: a binary, its arguments and a run directory. Outputs: exactly one
// Envoy for as long as Run runs. Envoy outlives an agent that is killed; of a
// run directory there are never two. Of the agent it may import nothing.
package envoy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// Options say what to run. All but Metrics' names are required.
type Options struct {
	Path      string   // the binary
	Args      []string // all but the bootstrap
	Env       []string // NAME=VALUE, the whole environment
	Bootstrap []byte   // JSON
	RunDir    string   // holds bootstrap, lock and pid file; private to this Envoy
	Output    *os.File // what Envoy writes goes there, without passing the agent
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// Times of supervision.
const (
	restartFirst = 50 * time.Millisecond
	restartMax   = 10 * time.Second
	healthyAfter = 30 * time.Second // after which a crash is a first crash again
	adoptTimeout = 5 * time.Second
	adoptPoll    = 10 * time.Millisecond
	quitTimeout  = 2 * time.Second // for SIGTERM, then again for SIGKILL
)

// Supervisor keeps one Envoy running. Make it with New, use Run once.
type Supervisor struct {
	o        Options
	restarts prometheus.Counter
	adopted  prometheus.Counter

	mu      sync.Mutex
	current *process // nil while none runs
}

// New prepares a supervisor; nothing runs yet.
func New(o Options) *Supervisor {
	s := &Supervisor{o: o}
	s.restarts = prometheus.NewCounter(prometheus.CounterOpts{Name: "envoy_restarts_total", Help: "Envoys started because the one before had ended."})
	s.adopted = prometheus.NewCounter(prometheus.CounterOpts{Name: "envoy_adoptions_total", Help: "Running Envoys taken over from an agent that had ended."})
	o.Metrics.MustRegister(s.restarts, s.adopted)
	return s
}

// PID is that of the running Envoy, 0 while there is none.
func (s *Supervisor) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0
	}
	return s.current.pid
}

// Identity tells the running Envoy from every other that ran or will run on this
// machine since it was started; "" while there is none.
func (s *Supervisor) Identity() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return ""
	}
	return s.current.identity
}

// Run keeps Envoy running until ctx ends, then ends it: by SIGTERM, else by
// SIGKILL, within four seconds. Errors: the first
// Envoy cannot be started, or the run directory is unusable.
func (s *Supervisor) Run(ctx context.Context) error {
	p, lock, err := s.adopt(ctx)
	if err != nil {
		return err
	}
	if p == nil {
		if p, err = s.start(lock); err != nil {
			return err
		}
	}
	wait := restartFirst
	for {
		begun := time.Now()
		s.set(p)
		select {
		case <-ctx.Done():
			s.stop(p)
			s.set(nil)
			return ctx.Err()
		case <-p.done:
		}
		s.set(nil)
		if time.Since(begun) > healthyAfter {
			wait = restartFirst
		}
		if p, err = s.restart(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, restartMax)
	}
}

// Retire marks the running Envoy as one that must not be adopted: it is being
// drained, and would never take inbound connections again.
func (s *Supervisor) Retire() error {
	if err := os.WriteFile(s.file("envoy.lock"), []byte("retired"), 0o600); err != nil {
		return fmt.Errorf("envoy: %w", err)
	}
	return nil
}

func (s *Supervisor) set(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.current != p {
		_ = s.current.pidfd.Close()
	}
	s.current = p
}

// restart starts another Envoy after wait, and goes on trying until ctx ends.
func (s *Supervisor) restart(ctx context.Context, wait time.Duration) (*process, error) {
	for {
		s.o.Log.Warn("Envoy ended; starting it again", "after", wait)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
		s.restarts.Inc()
		p, err := s.startAlone()
		if err == nil {
			return p, nil
		}
		s.o.Log.Error("Envoy cannot be started", "error", err)
		wait = min(2*wait, restartMax)
	}
}

func (s *Supervisor) startAlone() (*process, error) {
	lock, err := takeLock(s.file("envoy.lock"))
	if err != nil {
		return nil, err
	}
	return s.start(lock)
}

func (s *Supervisor) file(name string) string { return filepath.Join(s.o.RunDir, name) }

// start runs an Envoy that holds lock; the agent's own hold ends.
func (s *Supervisor) start(lock *os.File) (*process, error) {
	defer lock.Close()
	bootstrap := s.file("bootstrap.json")
	if err := os.WriteFile(bootstrap, s.o.Bootstrap, 0o600); err != nil {
		return nil, fmt.Errorf("envoy: %w", err)
	}
	if err := writeDigest(lock, s.digest()); err != nil {
		return nil, err
	}
	cmd := exec.Command(s.o.Path, append([]string{"-c", bootstrap}, s.o.Args...)...)
	cmd.Env = s.o.Env
	cmd.Stdout, cmd.Stderr = s.o.Output, s.o.Output
	cmd.ExtraFiles = []*os.File{lock}
	// A session of its own: a terminal's Ctrl-C must not end Envoy before it
	// has drained.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("envoy: start %s: %w: check --envoy", s.o.Path, err)
	}
	p, err := watch(cmd.Process.Pid, func() {
		s.o.Log.Info("Envoy ended", "pid", cmd.Process.Pid, "how", describe(cmd, cmd.Wait()))
	})
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	s.o.Log.Info("Envoy started", "pid", p.pid)
	s.writePID(p.pid)
	return p, nil
}

// writePID is for people and for a quick adoption; the lock is the truth.
func (s *Supervisor) writePID(pid int) {
	if err := os.WriteFile(s.file("envoy.pid"), []byte(strconv.Itoa(pid)+"\n"), 0o600); err != nil {
		s.o.Log.Warn("pid file not written", "error", err)
	}
}

// digest names all that a running Envoy was started with.
func (s *Supervisor) digest() string {
	h := sha256.New()
	for _, part := range append([]string{s.o.Path, string(s.o.Bootstrap)}, append(s.o.Args, s.o.Env...)...) {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func writeDigest(lock *os.File, digest string) error {
	if err := lock.Truncate(0); err != nil {
		return fmt.Errorf("envoy: %w", err)
	}
	if _, err := lock.WriteAt([]byte(digest), 0); err != nil {
		return fmt.Errorf("envoy: %w", err)
	}
	return nil
}

// adopt takes over the Envoy that holds the lock, if there is one, or else
// returns the lock. An Envoy that was started with another configuration is
// ended first: it would never become what was asked for.
func (s *Supervisor) adopt(ctx context.Context) (*process, *os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	path := s.file("envoy.lock")
	for {
		lock, err := takeLock(path)
		if !errors.Is(err, errHeld) {
			return nil, lock, err
		}
		p := s.inherit(path)
		if p != nil && s.sameDigest(path) {
			s.adopted.Inc()
			s.o.Log.Info("running Envoy adopted", "pid", p.pid)
			s.writePID(p.pid)
			return p, nil, nil
		}
		if p != nil {
			s.o.Log.Warn("running Envoy has another configuration; replacing it", "pid", p.pid)
			s.stop(p)
			_ = p.pidfd.Close()
			continue
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("envoy: %s is held by a process that is no Envoy: end it, or use another --run-dir", path)
		case <-time.After(adoptPoll):
		}
	}
}

// inherit returns the process that holds the lock, once it can be watched.
func (s *Supervisor) inherit(path string) *process {
	pid := holder(path, readPID(s.file("envoy.pid")))
	if pid == 0 {
		return nil
	}
	p, err := watch(pid, nil)
	if err != nil {
		return nil
	}
	// Only now, with the pidfd in hand, the pid cannot become another's.
	if lock, err := os.Stat(path); err != nil || !holds(pid, lock) {
		_ = p.pidfd.Close()
		return nil
	}
	return p
}

func (s *Supervisor) sameDigest(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 256))
	return err == nil && string(text) == s.digest()
}

// stop ends p: politely, which for Envoy is the same as /quitquitquit but can
// reach no other process, then for certain.
func (s *Supervisor) stop(p *process) {
	_ = p.signal(unix.SIGTERM)
	if waitDone(p, quitTimeout) {
		return
	}
	s.o.Log.Warn("Envoy did not end; killing it", "pid", p.pid)
	_ = p.signal(unix.SIGKILL)
	waitDone(p, quitTimeout)
}

func waitDone(p *process, limit time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(limit):
		return false
	}
}
