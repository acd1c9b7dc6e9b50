package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeper holds a cluster's machines.
type keeper struct {
	plan Plan

	mu       sync.Mutex
	up       map[string]*life
	programs *programs
	// relays are the open ports of the host by machine: they outlive it, so that
	// its restart has the same.
	relays map[string]*os.File
}

// life is a running machine.
type life struct {
	pid  int
	done chan struct{}
}

// bootTime bounds the start of one machine.
const bootTime = 20 * time.Second

// Keep brings up the cluster whose plan is in dir, and holds it until it is
// asked to end: by a request, by SIGTERM or SIGINT, or, if the plan says so, by
// the end of standard input. It takes the folder away with all else.
func Keep(dir string) error {
	plan, err := Read(dir)
	if err != nil {
		return err
	}
	k := &keeper{plan: plan, up: map[string]*life{}, relays: map[string]*os.File{}, programs: newPrograms(plan.Programs)}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer cancel()
	if plan.Owned {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	listener, err := k.raise(cancel)
	if err == nil {
		<-ctx.Done()
		_ = listener.Close()
	}
	return errors.Join(err, k.end())
}

// raise starts everything and then answers requests.
func (k *keeper) raise(down func()) (io.Closer, error) {
	for _, m := range k.plan.Machines {
		if err := k.start(m.Name); err != nil {
			return nil, err
		}
	}
	for _, p := range k.plan.Programs {
		if err := k.programs.start(p.Name); err != nil {
			return nil, err
		}
	}
	return serve(k.plan.Socket(), func(req Request) (Response, error) { return k.answer(req, down) })
}

func (k *keeper) answer(req Request, down func()) (Response, error) {
	_, err := k.plan.machine(req.Name)
	switch {
	case req.Operation == Down:
		down()
	case req.Operation == Ping:
	case err != nil && len(k.plan.Programs) > 0:
		return k.programs.answer(req)
	case req.Operation == Start:
		if err := k.start(req.Name); err != nil {
			return Response{}, err
		}
	case req.Operation == Stop:
		if err := k.stop(req.Name); err != nil {
			return Response{}, err
		}
	default:
		return Response{}, fmt.Errorf("no operation %q here", req.Operation)
	}
	return Response{Pids: k.pids()}, nil
}

func (k *keeper) pids() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	pids := map[string]int{}
	for name, l := range k.up {
		pids[name] = l.pid
	}
	return pids
}

// start brings one machine up, and returns when it answers requests.
func (k *keeper) start(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, err := k.plan.machine(name)
	if err != nil {
		return err
	}
	if k.up[name] != nil {
		return fmt.Errorf("machine %s runs already", name)
	}
	cmd, gate, err := k.command(m)
	if err != nil {
		return err
	}
	defer func() { _ = gate.Close() }()
	l, err := launch(cmd)
	if err != nil {
		return fmt.Errorf("start machine %s: %w", name, err)
	}
	k.up[name] = l
	if err := k.equip(m, l.pid); err != nil {
		return err
	}
	if _, err := gate.Write([]byte{1}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootTime)
	defer cancel()
	go func() { // a machine that dies while it starts is not waited for
		select {
		case <-l.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := await(ctx, []string{"unix://" + m.Socket()}); err != nil {
		return fmt.Errorf("machine %s does not come up (see keeper.log): %w", name, err)
	}
	return nil
}

// command prepares a machine's first process. Writing to the pipe lets it go on.
func (k *keeper) command(m Machine) (*exec.Cmd, *os.File, error) {
	_ = os.Remove(m.Socket())
	wait, gate, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self, "enlist", k.plan.Dir, m.Name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = wait, os.Stdout, os.Stderr
	cmd.Env = []string{"PATH=" + Path}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: syscall.SIGKILL,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID,
	}
	if m.Relay == nil {
		return cmd, gate, nil
	}
	if k.relays[m.Name] == nil {
		if k.relays[m.Name], err = m.Relay.listen(); err != nil {
			return nil, nil, err
		}
	}
	cmd.ExtraFiles = []*os.File{k.relays[m.Name]}
	return cmd, gate, nil
}

// Path is where programs are looked for in a machine.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// launch starts cmd and watches it. The kernel ties "die with the parent" to
// the thread that forked, so that thread is held as long.
func launch(cmd *exec.Cmd) (*life, error) {
	started := make(chan error)
	l := &life{done: make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if stdin, ok := cmd.Stdin.(*os.File); ok {
			_ = stdin.Close() // the child has its own
		}
		if err == nil {
			l.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			slog.Info("machine ended", "argv", cmd.Args, "state", cmd.Wait())
			close(l.done)
		}
	}()
	return l, <-started
}

// equip gives a machine that waits its cgroup and its interface.
func (k *keeper) equip(m Machine, pid int) error {
	if err := joinCgroup(k.plan.Cgroup(m), pid); err != nil {
		return err
	}
	if m.Switch {
		return nil
	}
	lan, err := k.lan()
	if err != nil {
		return err
	}
	return plug(m, pid, lan)
}

// lan is the pid of the switch.
func (k *keeper) lan() (int, error) {
	for _, m := range k.plan.Machines {
		if l := k.up[m.Name]; m.Switch && l != nil {
			return l.pid, nil
		}
	}
	return 0, errors.New("the LAN's switch does not run")
}

// stop ends one machine as a power failure would, and removes what is left.
func (k *keeper) stop(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, err := k.plan.machine(name)
	if err != nil {
		return err
	}
	l := k.up[name]
	if l == nil {
		return fmt.Errorf("machine %s does not run", name)
	}
	if err := unix.Kill(l.pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill machine %s: %w", name, err)
	}
	<-l.done
	delete(k.up, name)
	_ = os.Remove(m.Socket())
	if lan, err := k.lan(); err == nil && !m.Switch {
		if err := unplug(m, lan); err != nil {
			return err
		}
	}
	return removeCgroup(k.plan.Cgroup(m), endTime)
}

// endTime bounds how long a killed machine's cgroups may stay in use.
const endTime = 20 * time.Second

// end takes everything down, and says what resisted.
func (k *keeper) end() error {
	var failed error
	k.programs.stopAll()
	for i := len(k.plan.Machines) - 1; i >= 0; i-- {
		if name := k.plan.Machines[i].Name; k.pids()[name] != 0 {
			failed = errors.Join(failed, k.stop(name))
		}
	}
	return errors.Join(failed, Sweep(k.plan.Dir))
}

// Sweep removes what a cluster that no longer runs has left: its cgroups, with
// any process in them, and its folder.
func Sweep(dir string) error {
	plan, err := Read(dir)
	if err != nil {
		return err
	}
	if len(plan.Machines) > 0 {
		if err := removeCgroup(plan.cgroups(), endTime); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}
