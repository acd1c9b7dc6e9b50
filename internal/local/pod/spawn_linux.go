package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/capture"
)

// launch is one program to start.
type launch struct {
	argv, env []string
	dir       string
	attr      *syscall.SysProcAttr
	stdio     [3]int
	sockets   []int // from descriptor 3 on
	confine   bool  // to appCaps
}

// run starts it and gives its pid.
func (l launch) run() (int, error) {
	dir := l.dir
	if dir == "" {
		dir = "/"
	}
	if len(l.argv) == 0 || l.argv[0] == "" {
		return 0, fmt.Errorf("no program: argv is empty")
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return 0, fmt.Errorf("working directory %s: not a directory this pod sees", dir)
	}
	path, err := lookPath(l.argv[0], dir, l.env)
	if err != nil {
		return 0, err
	}
	start := func() (int, error) {
		return syscall.ForkExec(path, l.argv, &syscall.ProcAttr{
			Dir: dir, Env: l.env, Sys: l.attr,
			Files: l.files(),
		})
	}
	var pid int
	if l.confine {
		pid, err = confined(start)
	} else {
		pid, err = start()
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && slices.Contains([]syscall.Errno{syscall.EACCES, syscall.EPERM, syscall.ENOEXEC, syscall.ENOENT}, errno) {
		return 0, &notStarted{cannotRun, fmt.Sprintf("%s: %v", path, err)} // ENOENT: its interpreter
	}
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	return pid, nil
}

// files are the program's descriptors, from 0 on.
func (l launch) files() (all []uintptr) {
	for _, fd := range append(l.stdio[:], l.sockets...) {
		all = append(all, uintptr(fd))
	}
	return all
}

// notStarted is a program that is not there or cannot be run: code is what a
// shell exits with then. Source: POSIX, Shell Command Language, 2.8.2.
type notStarted struct {
	code int
	text string
}

const cannotRun, notFound = 126, 127

// Error implements error, in the words of a shell.
func (e *notStarted) Error() string { return e.text }

// lookPath finds a program as a shell in dir with this environment would.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	var list string
	var unfit error
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			list = value
		}
	}
	for _, d := range filepath.SplitList(list) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		path := filepath.Join(d, name)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if info, none := os.Stat(path); none == nil && !info.IsDir() && unfit == nil {
			unfit = err
		}
	}
	if unfit != nil {
		return "", unfit
	}
	return "", &notStarted{notFound, fmt.Sprintf("%s: not found in PATH=%q", name, list)}
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return &notStarted{notFound, path + ": no such file"}
	case err != nil:
		return &notStarted{cannotRun, fmt.Sprintf("%s: %v", path, errors.Unwrap(err))}
	case info.IsDir():
		return &notStarted{cannotRun, path + ": is a directory"}
	case info.Mode()&0o111 == 0:
		return &notStarted{cannotRun, path + ": permission denied: it is not executable (chmod +x)"}
	}
	return nil
}

// appCaps are what user 0 of an app may have, as in a container, but for those
// that reach the network: NET_RAW would let it mark packets like the proxy's.
var appCaps = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_SETFCAP,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_AUDIT_WRITE,
}

// confined starts a program that, with all its children and whoever they become,
// cannot have more than appCaps.
func confined(start func() (int, error)) (pid int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Capabilities belong to threads. This one is never unlocked, and ends
		// with the goroutine.
		runtime.LockOSThread()
		if err = dropCaps(); err == nil {
			pid, err = start()
		}
	}()
	<-done
	return pid, err
}

// dropCaps bounds what this thread's children can get by exec. What the thread
// has itself stays, for it has to change the user.
func dropCaps() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if slices.Contains(appCaps, c) {
			continue
		}
		// EINVAL: a capability that this kernel does not know.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("clear inheritable capabilities: %w", err)
	}
	return nil
}

// attributes decide with which rights a process runs. Each has a session, and
// so a process group, of its own.
//
// An app never holds rights over the pod's network or mounts: without root it is
// in a user namespace below the one that owns them, with root it is confined.
func (i Identity) attributes(p Process) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	user := i.Default
	if p.User != nil {
		user = *p.User
	}
	switch {
	case p.Proxy && i.Rootless:
	case p.Proxy:
		attr.Credential = &syscall.Credential{Uid: capture.ProxyUID, Gid: capture.ProxyUID}
	case i.Rootless && user.UID != i.Default.UID:
		return nil, fmt.Errorf("user %d: without root only the user who started the mesh, %d, is possible", user.UID, i.Default.UID)
	case i.Rootless:
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: int(user.UID), HostID: 0, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: int(user.GID), HostID: 0, Size: 1}}
	default:
		attr.Credential = &syscall.Credential{Uid: user.UID, Gid: user.GID, Groups: user.Groups}
	}
	return attr, nil
}

// launch prepares a program to run with the rights of process p.
func (i Identity) launch(p Process, stdio [3]int) (launch, error) {
	attr, err := i.attributes(p)
	return launch{argv: p.Argv, env: p.Env, dir: p.Dir, attr: attr, stdio: stdio, confine: !i.Rootless}, err
}
