package pod

import (
	"fmt"
	"syscall"
	"time"
)

// process is one process of the Spec, in pod-init.
type process struct {
	spec     Process
	stdio    [3]int
	sockets  []int
	pid      int // 0: not running
	held     bool
	begun    time.Time
	restarts int
	delay    time.Duration // of the next back-off
	waiting  *time.Timer   // of the current back-off or kill; nil: none
	again    bool          // Restart was asked for: start it whatever its policy
}

// The back-off of a process whose Spec says nothing.
const (
	defaultMin   = 200 * time.Millisecond
	defaultMax   = 30 * time.Second
	defaultReset = 10 * time.Second
)

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// startProcess starts p unless it is held, running, or the pod ends.
func (in *initProcess) startProcess(p *process) {
	if p.held || p.pid != 0 || in.stop != nil {
		return
	}
	p.cancel()
	l, err := in.identity.launch(p.spec, p.stdio)
	if err == nil {
		l.sockets = p.sockets
		p.pid, err = l.run()
	}
	p.begun = time.Now()
	if err != nil {
		in.event(p, Event{Kind: Failed, Error: fmt.Sprintf("process %q: %v", p.spec.Name, err)})
		in.restartLater(p, false)
		return
	}
	in.event(p, Event{Kind: Started, PID: p.pid})
}

// wait runs f after d, unless p is cancelled or waits for something else by then.
func (in *initProcess) wait(p *process, d time.Duration, f func()) {
	p.cancel()
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		in.do <- func() {
			if p.waiting == timer {
				p.waiting = nil
				f()
			}
		}
	})
	p.waiting = timer
}

// cancel ends what p waits for.
func (p *process) cancel() {
	if p.waiting != nil {
		p.waiting.Stop()
		p.waiting = nil
	}
}

func (in *initProcess) event(p *process, e Event) {
	e.Process, e.Time, e.Restarts = p.spec.Name, time.Now(), p.restarts
	in.send(report{Event: &e})
}

// processEnded reports it and starts it again as its policy says.
func (in *initProcess) processEnded(p *process, exit Exit) {
	if !p.spec.Proxy {
		killGroup(p.pid) // workers it left behind would hold its port
	}
	e := Event{Kind: Exited, PID: p.pid, Code: exit.Code, Signal: exit.Signal}
	p.pid = 0
	p.cancel()
	in.event(p, e)
	switch {
	case in.stop != nil:
		in.stopNext()
	case p.again:
		p.again = false
		p.restarts++
		in.startProcess(p)
	default:
		in.restartLater(p, exit == Exit{})
	}
}

// restartLater starts the back-off of p, if its policy wants it back.
func (in *initProcess) restartLater(p *process, success bool) {
	r := p.spec.Restart
	if r.Policy == Never || r.Policy == OnFailure && success || in.stop != nil {
		return
	}
	if p.delay == 0 || time.Since(p.begun) >= orElse(r.Reset, defaultReset) {
		p.delay = orElse(r.Min, defaultMin)
	}
	in.event(p, Event{Kind: BackOff, Delay: p.delay})
	in.wait(p, p.delay, func() {
		p.restarts++
		in.startProcess(p)
	})
	p.delay = min(2*p.delay, orElse(r.Max, defaultMax))
}

// change handles release and restart.
func (in *initProcess) change(c command) error {
	p, err := in.find(c.Process)
	if err != nil {
		return err
	}
	switch c.Op {
	case opRelease:
		p.held = false
		if p.pid == 0 && p.waiting == nil {
			in.startProcess(p)
		}
	case opRestart:
		in.restart(p, c.Grace)
	default:
		return fmt.Errorf("unknown command %q", c.Op)
	}
	return nil
}

// restart ends p, by force after grace, to start it again at once.
func (in *initProcess) restart(p *process, grace time.Duration) {
	if p.pid == 0 {
		p.restarts++
		in.startProcess(p)
		return
	}
	p.again = true
	_ = syscall.Kill(p.pid, p.spec.Stop.signal())
	in.wait(p, grace, p.force)
}

// force ends a process at once, and what it started; but a proxy's Envoy, which
// serves on until its agent is back, stays.
func (p *process) force() {
	switch {
	case p.pid == 0:
	case p.spec.Proxy:
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	default:
		killGroup(p.pid)
	}
}

func (s Stop) signal() syscall.Signal {
	if s.Signal != 0 {
		return s.Signal
	}
	return syscall.SIGTERM
}
