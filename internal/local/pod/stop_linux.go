package pod

import (
	"syscall"
	"time"
)

// lastWords is what later orders get at least, when earlier ones used up the grace.
const lastWords = 2 * time.Second

// stopping is the end of a pod: one order after the other, within the grace.
type stopping struct {
	id       int // of the command, which is answered at the end
	deadline time.Time
	order    int
	begun    bool // some order was signalled
	timer    *time.Timer
}

// beginStop notifies all, then ends the first order. A second stop shortens the
// grace of the first.
func (in *initProcess) beginStop(c command) {
	deadline := time.Now().Add(c.Grace)
	if in.stop != nil {
		in.send(report{Re: in.stop.id})
		in.stop.id = c.ID
		if deadline.Before(in.stop.deadline) {
			in.stop.deadline = deadline
			in.killAt(deadline)
		}
		return
	}
	in.stop = &stopping{id: c.ID, deadline: deadline}
	for _, p := range in.procs {
		p.cancel()
		if p.pid != 0 && p.spec.Stop.Notice != 0 {
			_ = syscall.Kill(p.pid, p.spec.Stop.Notice)
		}
	}
	in.stopNext()
}

// stopNext signals the lowest order that still runs, once, and ends the pod
// when there is none.
func (in *initProcess) stopNext() {
	s := in.stop
	order, running := 0, false
	for _, p := range in.procs {
		if p.pid != 0 && (!running || p.spec.Stop.Order < order) {
			order, running = p.spec.Stop.Order, true
		}
	}
	if !running {
		in.send(report{Re: s.id})
		in.over = true
		return
	}
	if s.begun && s.order == order {
		return
	}
	if s.begun && time.Until(s.deadline) < lastWords {
		s.deadline = time.Now().Add(lastWords)
	}
	s.begun, s.order = true, order
	for _, p := range in.procs {
		if p.pid != 0 && p.spec.Stop.Order == order {
			_ = syscall.Kill(p.pid, p.spec.Stop.signal())
		}
	}
	in.killAt(s.deadline)
}

// killAt ends by force, at that time, those that were asked to end.
func (in *initProcess) killAt(t time.Time) {
	s := in.stop
	if s.timer != nil {
		s.timer.Stop()
	}
	order := s.order
	s.timer = time.AfterFunc(time.Until(t), func() {
		in.do <- func() {
			for _, p := range in.procs {
				if p.spec.Stop.Order <= order {
					p.force()
				}
			}
		}
	})
}
