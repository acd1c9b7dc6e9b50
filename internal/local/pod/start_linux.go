package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/weftmesh/weft/internal/capture"
	"github.com/weftmesh/weft/internal/local/network"
	"github.com/weftmesh/weft/internal/local/wire"
)

// InitArg as the only argument makes this binary pod-init (Main).
const InitArg = "weft-local-pod-init"

// Host is where pods run: the mesh's side of them, shared by all.
type Host struct {
	Bridge   *network.Bridge
	Identity Identity
	// MeshDir is the mesh's memory file system; a pod's own replaces it.
	MeshDir string
	// RunDir is below MeshDir: where a pod finds its files.
	RunDir string
	// Fork starts a process from a thread that never ends: the kernel ends a
	// child with the thread that made it.
	Fork func(*exec.Cmd) error
}

// Start makes a pod and starts its processes, but those that are held. When it
// returns, the network and capture stand and each process was tried once;
// onEvent, which may be nil, gets all that happens to processes, in order.
// Errors name the pod and the step; nothing is left of a pod that failed.
func (h *Host) Start(ctx context.Context, spec Spec, onEvent func(Event)) (*Pod, error) {
	if err := spec.check(); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", spec.Namespace, spec.Name, err)
	}
	if spec.Capture != nil {
		c := *spec.Capture
		c.Proxy = h.Identity.proxy()
		spec.Capture = &c
	}
	p := newPod(h, spec, onEvent)
	if err := p.start(ctx); err != nil {
		if p.cmd != nil {
			p.Kill()
			<-p.done
		}
		return nil, fmt.Errorf("pod %s/%s: %w", spec.Namespace, spec.Name, err)
	}
	return p, nil
}

// proxy is how capture knows the proxy's connections.
func (i Identity) proxy() capture.Proxy {
	if i.Rootless {
		return capture.Proxy{Mark: capture.ProxyMark}
	}
	return capture.Proxy{UID: capture.ProxyUID}
}

func (s Spec) check() error {
	if s.Name == "" || s.Namespace == "" {
		return errors.New("name and namespace are needed")
	}
	if len(s.hostname()) > 64 || strings.ContainsAny(s.hostname(), " \n\t/") {
		return fmt.Errorf("hostname %q: at most 64 letters, digits, '-' and '.'", s.hostname())
	}
	seen := map[string]bool{}
	for i, p := range s.Processes {
		if p.Name == "" || seen[p.Name] {
			return fmt.Errorf("processes[%d].name %q: each process needs a name of its own", i, p.Name)
		}
		seen[p.Name] = true
		if len(p.Argv) == 0 {
			return fmt.Errorf("process %q: argv is empty: nothing to run", p.Name)
		}
		switch p.Restart.Policy {
		case "", Always, OnFailure, Never:
		default:
			return fmt.Errorf("process %q: restart policy %q: use Always, OnFailure or Never", p.Name, p.Restart.Policy)
		}
	}
	return nil
}

func newPod(h *Host, spec Spec, onEvent func(Event)) *Pod {
	if onEvent == nil {
		onEvent = func(Event) {}
	}
	p := &Pod{
		host: h, spec: spec, onEvent: onEvent,
		logs: map[string]*Log{}, statuses: map[string]*Status{},
		waiting: map[int]chan report{}, done: make(chan struct{}), gone: make(chan struct{}),
	}
	for _, proc := range spec.Processes {
		p.logs[proc.Name] = newLog(proc.LogBytes)
		p.statuses[proc.Name] = &Status{Process: proc.Name}
	}
	return p
}

// start forks pod-init, wires it to the network and hands it the Spec.
func (p *Pod) start(ctx context.Context) error {
	outputs, err := p.outputs()
	defer wire.CloseAll(outputs)
	if err != nil {
		return err
	}
	if err := p.fork(); err != nil {
		return err
	}
	if err := p.host.Bridge.Attach(p.cmd.Process.Pid, p.spec.Addresses); err != nil {
		return err
	}
	err = p.ask(ctx, command{Op: opStart, Config: &config{
		Spec: p.spec, Identity: p.host.Identity, MeshDir: p.host.MeshDir, RunDir: p.host.RunDir,
	}}, outputs...)
	return err
}

// fork starts pod-init in namespaces of its own.
func (p *Pod) fork() error {
	conn, theirs, err := wire.Pair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", InitArg)
	cmd.Args[0] = "weft-pod-init " + p.spec.Namespace + "/" + p.spec.Name
	cmd.Env = []string{} // secrets of the mesh's environment are not the pod's
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := p.host.Fork(cmd); err != nil {
		conn.Close()
		return fmt.Errorf("start pod-init: %w", err)
	}
	p.conn, p.cmd = conn, cmd
	p.netns, err = network.OpenNamespace(cmd.Process.Pid)
	go p.receive()
	go p.wait()
	return err
}

// outputs makes a pipe for each process and keeps the reading ends.
func (p *Pod) outputs() (writers []int, err error) {
	for _, proc := range p.spec.Processes {
		var ends [2]int
		if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
			return writers, fmt.Errorf("output of process %q: %w", proc.Name, err)
		}
		if err := syscall.SetNonblock(ends[0], true); err != nil {
			return append(writers, ends[1]), err
		}
		writers = append(writers, ends[1])
		p.filling.Add(1)
		go func() {
			defer p.filling.Done()
			p.logs[proc.Name].fill(os.NewFile(uintptr(ends[0]), proc.Name))
		}()
	}
	return writers, nil
}
