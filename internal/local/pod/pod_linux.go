package pod

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/internal/local/network"
	"github.com/weftmesh/weft/internal/local/wire"
)

// ErrGone is what calls on a pod give when it has ended.
var ErrGone = errors.New("the pod is gone")

// Pod is a running pod, seen from meshd. It is safe for concurrent use.
type Pod struct {
	host    *Host
	spec    Spec
	onEvent func(Event)
	conn    *wire.Conn
	cmd     *exec.Cmd
	netns   *network.Namespace
	logs    map[string]*Log
	filling sync.WaitGroup

	mu       sync.Mutex
	statuses map[string]*Status
	waiting  map[int]chan report // answers to come, by ID of the command
	lastID   int
	err      error

	gone chan struct{} // the connection has ended: no answers will come
	done chan struct{} // nothing of the pod is left
}

// Spec is what the pod was started from; do not write to its slices.
func (p *Pod) Spec() Spec { return p.spec }

// Done is closed when nothing of the pod is left.
func (p *Pod) Done() <-chan struct{} { return p.done }

// Err tells, after Done, how a pod ended that nobody stopped; nil otherwise.
func (p *Pod) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Statuses tells where each process stands, in the order of the Spec.
func (p *Pod) Statuses() (list []Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, proc := range p.spec.Processes {
		list = append(list, *p.statuses[proc.Name])
	}
	return list
}

// Log holds the output of a process; nil if the pod has none of that name.
func (p *Pod) Log(process string) *Log { return p.logs[process] }

// Release starts a process that was held; a second time it does nothing.
func (p *Pod) Release(process string) error {
	err := p.ask(context.Background(), command{Op: opRelease, Process: process})
	return p.named(err)
}

// Restart ends a process, by SIGKILL after grace, and starts it again at once.
// It returns when the first signal was sent.
func (p *Pod) Restart(process string, grace time.Duration) error {
	err := p.ask(context.Background(), command{Op: opRestart, Process: process, Grace: grace})
	return p.named(err)
}

// Signal sends a signal to the process itself, not to its children.
func (p *Pod) Signal(process string, sig syscall.Signal) error {
	err := p.ask(context.Background(), command{Op: opSignal, Process: process, Signal: sig})
	return p.named(err)
}

// Stop ends the processes order by order (Spec, Stop), those that take longer
// than grace by SIGKILL, and returns when nothing of the pod is left. When ctx
// is done first, the pod is killed, and ctx's error returned.
func (p *Pod) Stop(ctx context.Context, grace time.Duration) error {
	err := p.ask(ctx, command{Op: opStop, Grace: grace})
	if err != nil {
		p.Kill()
	}
	<-p.done
	if errors.Is(err, ErrGone) {
		return nil // it ended by itself meanwhile
	}
	return p.named(err)
}

// Kill ends all of the pod at once; Done tells when it is gone.
func (p *Pod) Kill() {
	_ = p.cmd.Process.Kill() // it may be gone: that is what we want
}

// DialContext connects as from inside the pod, by neither the app nor the
// proxy: the pod's loopback and its own addresses reach the process itself,
// past capture. The address is an IP and a port.
func (p *Pod) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := p.netns.DialContext(ctx, network, address)
	return conn, p.named(err)
}

// HTTPClient makes requests by DialContext; it keeps no connections open and
// follows no redirects. Set time-outs by the request's context.
func (p *Pod) HTTPClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: p.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Exec runs a command in the pod and returns how it ended. stdio are the open
// descriptors of its standard input, output and error, given as they are, so
// that a terminal stays one; they stay the caller's. When ctx is done the
// command's process group is killed. Signals on the channel, which may be nil,
// are passed on to the group. Where the error is that there is no such program,
// or that it cannot be run, the Exit's code is that of a shell, 127 or 126.
func (p *Pod) Exec(ctx context.Context, r ExecRequest, stdio [3]int, signals <-chan syscall.Signal) (Exit, error) {
	id, answer, err := p.send(command{Op: opExec, Exec: &r}, stdio[:]...)
	if err != nil {
		return Exit{}, p.named(err)
	}
	done := ctx.Done()
	for {
		select {
		case sig := <-signals:
			p.signalExec(id, sig)
		case <-done:
			p.signalExec(id, syscall.SIGKILL)
			done = nil // the answer is on its way
		case r := <-answer:
			return r.exit(p)
		case <-p.gone:
			return Exit{}, p.named(ErrGone)
		}
	}
}

// signalExec fails only when the command has ended.
func (p *Pod) signalExec(id int, sig syscall.Signal) {
	_, _, _ = p.send(command{Op: opSignal, Target: id, Signal: sig})
}

func (r report) exit(p *Pod) (Exit, error) {
	if r.Error != "" {
		return Exit{Code: r.Code}, p.named(errors.New(r.Error))
	}
	if r.Exit == nil {
		return Exit{}, p.named(errors.New("exec: answer without an exit status"))
	}
	return *r.Exit, nil
}

// named says which pod an error is about.
func (p *Pod) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pod %s/%s: %w", p.spec.Namespace, p.spec.Name, err)
}

// ask sends a command and waits until it was carried out.
func (p *Pod) ask(ctx context.Context, c command, fds ...int) error {
	_, answer, err := p.send(c, fds...)
	if err != nil {
		return err
	}
	select {
	case r := <-answer:
		if r.Error != "" {
			return errors.New(r.Error)
		}
		return nil
	case <-p.gone:
		return p.ended(answer)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ended prefers an answer that came just before the end.
func (p *Pod) ended(answer <-chan report) error {
	select {
	case r := <-answer:
		if r.Error != "" {
			return errors.New(r.Error)
		}
		return nil
	default:
		return ErrGone
	}
}

// send gives the command a number, under which its answer will come.
func (p *Pod) send(c command, fds ...int) (int, <-chan report, error) {
	answer := make(chan report, 1)
	p.mu.Lock()
	p.lastID++
	c.ID = p.lastID
	p.waiting[c.ID] = answer
	p.mu.Unlock()
	if err := p.conn.Send(c, fds...); err != nil {
		select {
		case <-p.gone:
			return 0, nil, ErrGone
		default:
			return 0, nil, fmt.Errorf("%s: %w", c.Op, err)
		}
	}
	return c.ID, answer, nil
}

// receive hands out the answers and events of pod-init until it is gone.
func (p *Pod) receive() {
	defer close(p.gone)
	for {
		var r report
		fds, err := p.conn.Receive(&r)
		if err != nil {
			return
		}
		wire.CloseAll(fds)
		if r.Event != nil {
			p.note(*r.Event)
			p.onEvent(*r.Event)
			continue
		}
		p.mu.Lock()
		answer := p.waiting[r.Re]
		delete(p.waiting, r.Re)
		p.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
}

// note brings the status of a process up to date.
func (p *Pod) note(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.statuses[e.Process]
	if s == nil {
		return
	}
	s.Restarts = e.Restarts
	switch e.Kind {
	case Started:
		s.Running, s.PID, s.Since = true, e.PID, e.Time
	case Exited, Failed:
		s.Running, s.PID, s.Since, s.Last = false, 0, e.Time, e
	case BackOff: // its end was told before
	}
}

// wait cleans up when pod-init has ended, and with it all in the pod.
func (p *Pod) wait() {
	err := p.cmd.Wait()
	<-p.gone // all that it said before was read
	p.conn.Close()
	p.host.Bridge.Detach(p.spec.Addresses)
	p.filling.Wait()
	p.mu.Lock()
	if err != nil {
		p.err = fmt.Errorf("pod %s/%s: pod-init: %w", p.spec.Namespace, p.spec.Name, err)
	}
	for name, s := range p.statuses {
		s.Running, s.PID = false, 0
		p.statuses[name] = s
	}
	p.mu.Unlock()
	if p.netns != nil {
		p.netns.Close()
	}
	close(p.done)
}

// Process gives the Spec of a process of the pod.
func (p *Pod) Process(name string) (Process, bool) {
	i := slices.IndexFunc(p.spec.Processes, func(proc Process) bool { return proc.Name == name })
	if i < 0 {
		return Process{}, false
	}
	return p.spec.Processes[i], true
}
