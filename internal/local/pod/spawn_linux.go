package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/weftmesh/weft/internal/local/capture"
)

// launch is one program to start.
type launch struct {
	argv, env []string
	dir       string
	attr      *syscall.SysProcAttr
	stdio     [3]int
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
	path, err := lookPath(l.argv[0], dir, l.env)
	if err != nil {
		return 0, err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return 0, fmt.Errorf("working directory %s: not a directory this pod sees", dir)
	}
	pid, err := syscall.ForkExec(path, l.argv, &syscall.ProcAttr{
		Dir: dir, Env: l.env, Sys: l.attr,
		Files: []uintptr{uintptr(l.stdio[0]), uintptr(l.stdio[1]), uintptr(l.stdio[2])},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	return pid, nil
}

// lookPath finds a program as a shell in dir with this environment would.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	var list string
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			list = value
		}
	}
	for _, d := range filepath.SplitList(list) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		if path := filepath.Join(d, name); executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %q: not found in PATH=%q", name, list)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("program %s: %w", path, err)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("program %s: not an executable file", path)
	}
	return nil
}

// attributes decide with which rights a process runs. Each has a session, and
// so a process group, of its own.
//
// An app never holds rights over the pod's network or mounts: it is an ordinary
// user, or, being user 0, in a user namespace below the one that owns them.
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
	case user.UID == 0:
		return attr, nested(attr)
	default:
		attr.Credential = &syscall.Credential{Uid: user.UID, Gid: user.GID, Groups: user.Groups}
	}
	return attr, nil
}

// nested puts the process into a user namespace that maps each user to itself.
func nested(attr *syscall.SysProcAttr) (err error) {
	attr.Cloneflags = syscall.CLONE_NEWUSER
	attr.GidMappingsEnableSetgroups = true
	if attr.UidMappings, err = identityMap("/proc/self/uid_map"); err == nil {
		attr.GidMappings, err = identityMap("/proc/self/gid_map")
	}
	return err
}

// identityMap maps all that is mapped here to itself.
func identityMap(path string) (list []syscall.SysProcIDMap, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("%s: line %q", path, line)
		}
		first, err1 := strconv.Atoi(f[0])
		size, err2 := strconv.Atoi(f[2])
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%s: line %q", path, line)
		}
		list = append(list, syscall.SysProcIDMap{ContainerID: first, HostID: first, Size: size})
	}
	return list, nil
}
