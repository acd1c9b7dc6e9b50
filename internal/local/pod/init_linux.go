package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/agent/nameserver"
	"github.com/weftmesh/weft/internal/capture"
	"github.com/weftmesh/weft/internal/local/network"
	"github.com/weftmesh/weft/internal/local/wire"
)

// controlFD is where pod-init finds its connection to meshd.
const controlFD = 3

// Main is pod-init: pid 1 of a pod. It ends when all processes were stopped, or
// with meshd, and with it the kernel ends everything in the pod. It does not
// return.
func Main() {
	conn, err := wire.Inherited(controlFD)
	if err != nil {
		fmt.Fprintf(os.Stderr, "weft pod-init: %v: it is started by the mesh only\n", err)
		os.Exit(1)
	}
	in := &initProcess{
		conn:  conn,
		execs: map[int]*execution{},
		do:    make(chan func(), 64),
	}
	in.run()
	os.Exit(0)
}

// initProcess is the state of pod-init. All of it belongs to the goroutine of
// run, which also is the only one that forks and reaps; others hand it work by do.
type initProcess struct {
	conn     *wire.Conn
	identity Identity
	procs    []*process
	execs    map[int]*execution // by the ID of the command that asked for it
	stop     *stopping          // nil until the pod is stopped
	do       chan func()
	over     bool
}

// execution is a command that meshd asked to run.
type execution struct {
	id  int
	pid int
}

func (in *initProcess) run() {
	// Pid 1 gets every orphan of the pod: an Envoy whose agent died among them,
	// which lives on and is reaped when it ends, like any other.
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	// Nobody but meshd is to end the pod. Caught, not ignored: what is ignored
	// stays so in the programs that are started.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go in.receive()
	for !in.over {
		select {
		case f := <-in.do:
			f()
		case <-children:
			in.reap()
		}
	}
}

// receive hands over the commands; when meshd is gone, the pod is at its end.
func (in *initProcess) receive() {
	for {
		var c command
		fds, err := in.conn.Receive(&c)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintf(os.Stderr, "weft pod-init: control connection: %v\n", err)
			}
			os.Exit(1)
		}
		in.do <- func() { in.handle(c, fds) }
	}
}

func (in *initProcess) handle(c command, fds []int) {
	var err error
	switch c.Op {
	case opStart:
		err = in.start(c.Config, fds)
	case opExec: // answered when it has ended
		if err = in.exec(c, fds); err == nil {
			return
		}
	case opStop: // answered when all have ended
		in.beginStop(c)
		return
	case opSignal:
		err = in.signal(c)
	default:
		err = in.change(c)
	}
	r := report{Re: c.ID}
	var program *notStarted
	if errors.As(err, &program) {
		r.Code = program.code
	}
	if err != nil {
		r.Error = err.Error()
	}
	in.send(r)
}

// send cannot fail in a way that matters: with meshd gone, receive ends it all.
func (in *initProcess) send(r report) { _ = in.conn.Send(r) }

// start builds the pod and starts its processes.
func (in *initProcess) start(c *config, outputs []int) error {
	if c == nil || len(outputs) != len(c.Spec.Processes) {
		wire.CloseAll(outputs)
		return errors.New("start: one output for each process is needed")
	}
	in.identity = c.Identity
	if err := build(c); err != nil {
		return err
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	for i, spec := range c.Spec.Processes {
		p := &process{spec: spec, stdio: [3]int{null, outputs[i], outputs[i]}, held: spec.Hold}
		if p.sockets, err = listen(spec.Listen); err != nil {
			return fmt.Errorf("process %q: %w", spec.Name, err)
		}
		in.procs = append(in.procs, p)
	}
	for _, p := range in.procs {
		in.startProcess(p)
	}
	return nil
}

// listen opens sockets that outlive the processes they are for.
func listen(addresses []string) (fds []int, err error) {
	bound, err := nameserver.Listen(context.Background(), addresses)
	if err != nil {
		return nil, err
	}
	files, err := bound.Files()
	for _, f := range files {
		fd, failed := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		fds, err = append(fds, fd), errors.Join(err, failed, f.Close())
	}
	return fds, errors.Join(err, bound.Close())
}

// build makes everything of the pod but its processes.
func build(c *config) error {
	if err := mountAll(c); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(c.Spec.hostname())); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := network.Configure(c.Spec.Addresses); err != nil {
		return err
	}
	if c.Spec.Capture != nil {
		if err := capture.Apply(*c.Spec.Capture); err != nil {
			return err
		}
	}
	return freezeSysctls()
}

// reap collects every child that has ended.
func (in *initProcess) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		in.ended(pid, exitOf(status))
	}
}

func exitOf(status syscall.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: status.Signal()}
	}
	return Exit{Code: status.ExitStatus()}
}

// ended looks up whose pid it was; an orphan is nobody's and needs nothing more.
func (in *initProcess) ended(pid int, exit Exit) {
	for _, p := range in.procs {
		if p.pid == pid {
			in.processEnded(p, exit)
			return
		}
	}
	for id, e := range in.execs {
		if e.pid == pid {
			killGroup(pid) // what it left in the background
			delete(in.execs, id)
			in.send(report{Re: id, Exit: &exit})
			return
		}
	}
}

// killGroup ends what is left of a process's group; none left is no error.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

func (in *initProcess) find(name string) (*process, error) {
	for _, p := range in.procs {
		if p.spec.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("process %q: this pod has none of that name", name)
}

// signal reaches one process, or the whole group of an exec'd command.
func (in *initProcess) signal(c command) error {
	if c.Target != 0 {
		if e, ok := in.execs[c.Target]; ok {
			return syscall.Kill(-e.pid, c.Signal)
		}
		return nil // it has just ended
	}
	p, err := in.find(c.Process)
	if err != nil {
		return err
	}
	if p.pid == 0 {
		return fmt.Errorf("process %q: not running", c.Process)
	}
	return syscall.Kill(p.pid, c.Signal)
}

// exec starts a command with the user, environment and directory of a process.
func (in *initProcess) exec(c command, fds []int) error {
	defer wire.CloseAll(fds)
	if c.Exec == nil || len(fds) != 3 {
		return errors.New("exec: a command with stdin, stdout and stderr is needed")
	}
	if in.stop != nil {
		return errors.New("exec: the pod is being stopped")
	}
	as, err := in.execAs(c.Exec.As)
	if err != nil {
		return err
	}
	dir := c.Exec.Dir
	if dir == "" {
		dir = as.Dir
	}
	as.Argv, as.Env, as.Dir = c.Exec.Argv, mergeEnv(as.Env, c.Exec.Env), dir
	l, err := in.identity.launch(as, [3]int(fds))
	if err != nil {
		return err
	}
	if c.Exec.TTY {
		l.attr.Setctty, l.attr.Ctty = true, 0
	}
	pid, err := l.run()
	if err == nil {
		in.execs[c.ID] = &execution{id: c.ID, pid: pid}
	}
	return err
}

func (in *initProcess) execAs(name string) (Process, error) {
	if name != "" {
		p, err := in.find(name)
		if err != nil {
			return Process{}, err
		}
		return p.spec, nil
	}
	for _, p := range in.procs {
		if !p.spec.Proxy {
			return p.spec, nil
		}
	}
	return Process{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}, nil
}

// mergeEnv gives base with the variables of more added or replaced.
func mergeEnv(base, more []string) []string {
	name := func(e string) string {
		for i, c := range e {
			if c == '=' {
				return e[:i]
			}
		}
		return e
	}
	out := slices.DeleteFunc(slices.Clone(base), func(b string) bool {
		return slices.ContainsFunc(more, func(m string) bool { return name(m) == name(b) })
	})
	return append(out, more...)
}
