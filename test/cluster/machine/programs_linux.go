package machine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// programs runs those of one machine. The zero value runs none.
type programs struct {
	mu   sync.Mutex
	runs map[string]*run
	all  map[string]Program
}

// run is a program that should be running.
type run struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func newPrograms(list []Program) *programs {
	p := &programs{runs: map[string]*run{}, all: map[string]Program{}}
	for _, program := range list {
		p.all[program.Name] = program
	}
	return p
}

// start begins to keep a program running; one that runs already stays as it is.
func (p *programs) start(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	program, ok := p.all[name]
	if !ok {
		return fmt.Errorf("no program %s here", name)
	}
	if p.runs[name] != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{cancel: cancel, done: make(chan struct{})}
	p.runs[name] = r
	go func() {
		defer close(r.done)
		keep(ctx, program)
	}()
	return nil
}

// stop kills a program, and returns when it is gone.
func (p *programs) stop(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.runs[name]
	if r == nil {
		return fmt.Errorf("program %s does not run", name)
	}
	delete(p.runs, name)
	r.cancel()
	<-r.done
	return nil
}

func (p *programs) stopAll() {
	for name := range p.all {
		_ = p.stop(name) // those that do not run need no stop
	}
}

// answer serves the requests that concern programs.
func (p *programs) answer(req Request) (Response, error) {
	switch req.Operation {
	case Ping:
		return Response{}, nil
	case Start:
		return Response{}, p.start(req.Name)
	case Stop:
		return Response{}, p.stop(req.Name)
	}
	return Response{}, fmt.Errorf("no operation %q here", req.Operation)
}

// restartDelay keeps a program that ends at once from filling its log.
const restartDelay = 500 * time.Millisecond

// keep runs a program again and again until ctx ends.
func keep(ctx context.Context, p Program) {
	// The kernel ties "die with the parent" to the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		if err := await(ctx, p.Wait); err != nil {
			return
		}
		err := once(ctx, p)
		if ctx.Err() != nil {
			return
		}
		slog.Warn("program ended by itself, starting it again", "program", p.Name, "error", err, "log", p.Log)
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartDelay):
		}
	}
}

// once runs a program to its end.
func once(ctx context.Context, p Program) error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(ctx, p.Argv[0], p.Argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.Env, "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

// pollEvery is how often a condition is looked at.
const pollEvery = 50 * time.Millisecond

// await returns when all conditions hold, or with ctx's error.
func await(ctx context.Context, conditions []string) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for _, condition := range conditions {
		for holds(ctx, condition) != nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	return ctx.Err()
}

// holds is nil if the condition of a Program's Wait is met.
func holds(ctx context.Context, condition string) error {
	u, err := url.Parse(condition)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var dialer net.Dialer
	switch u.Scheme {
	case "tcp", "unix":
		conn, err := dialer.DialContext(ctx, u.Scheme, u.Host+u.Path)
		if err != nil {
			return err
		}
		return conn.Close()
	case "https":
		return answers(ctx, condition)
	}
	return fmt.Errorf("condition %q: want tcp, unix or https", condition)
}

// answers is nil if a GET gives 200. Who answers is not checked: only readiness
// is asked, and nothing is told.
func answers(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // see above
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
