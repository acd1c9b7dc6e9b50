package machine

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enlist is a machine's first step, as process 1 of its namespaces: it waits
// until the keeper has put it into its cgroup and given it an interface, and
// makes that cgroup the root of what it sees. It returns only an error.
func Enlist(dir, name string) error {
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the keeper: %w", err)
	}
	// The namespace is this thread's only, and exec keeps that thread alone.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("own cgroup namespace: %w", err)
	}
	return syscall.Exec(self, []string{self, "boot", dir, name}, os.Environ())
}

// self is the program itself, which may be gone from the disk.
const self = "/proc/self/exe"

// Boot makes process 1 the machine that the plan wants, starts the process that
// runs its programs, and then does what a process 1 does: it reaps. When it
// ends, so does everything in the machine.
func Boot(dir, name string) error {
	// The exec of Enlist has kept the keeper's "die with me" only if the thread
	// that called it was the first; this one stays as long as the machine.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("die with the keeper: %w", err)
	}
	plan, err := Read(dir)
	if err != nil {
		return err
	}
	m, err := plan.machine(name)
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := mountAll(m); err != nil {
		return err
	}
	if err := m.connect(); err != nil {
		return err
	}
	server := exec.Command(self, "serve", dir, name)
	server.Stdout, server.Stderr = os.Stdout, os.Stderr
	if m.Relay != nil {
		server.ExtraFiles = []*os.File{os.NewFile(relayFD, "relay")}
	}
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		return err
	}
	return reap(server.Process.Pid)
}

// reap collects orphans until the process that serves ends.
func reap(server int) error {
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		switch {
		case pid == server:
			return errors.New("the process that runs this machine's programs ended")
		case err != nil && err != unix.EINTR:
			return fmt.Errorf("reap: %w", err)
		}
	}
}

// mountAll gives the machine a file system of its own where the host's would be
// changed or is wrong: /proc, /sys, cgroups, /run, /var/lib, /var/log.
func mountAll(m Machine) error {
	all, err := hierarchies() // while the host's mounts are seen
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("hide the host's /sys: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := mountCgroups(all); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.MkdirAll("/run/lock", 0o755); err != nil {
		return err
	}
	for _, dir := range []string{"/var/lib", "/var/log"} {
		if err := bind(filepath.Join(m.Dir, dir), dir); err != nil {
			return err
		}
	}
	if err := pretendSysctls(m.Dir); err != nil {
		return err
	}
	// kubelet passes mounts of its volumes on to containers.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// bind shows a folder, which it makes, at another place.
func bind(source, target string) error {
	if err := os.MkdirAll(source, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", source, target, err)
	}
	return nil
}

// pretended are settings of the whole kernel that a kubelet insists on. It is
// shown files that hold them, for the host's stay as they are.
var pretended = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

func pretendSysctls(dir string) error {
	for name, value := range pretended {
		file := filepath.Join(dir, "sysctl", strings.ReplaceAll(name, "/", "."))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); os.IsNotExist(err) {
			continue // not every kernel has all of them
		}
		if err := unix.Mount(file, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", target, err)
		}
	}
	return nil
}

// Serve runs the programs of a booted machine for ever.
func Serve(dir, name string) error {
	plan, err := Read(dir)
	if err != nil {
		return err
	}
	m, err := plan.machine(name)
	if err != nil {
		return err
	}
	if m.Relay != nil {
		if err := m.Relay.serve(); err != nil {
			return err
		}
	}
	p := newPrograms(m.Programs)
	for _, program := range m.Programs {
		if err := p.start(program.Name); err != nil {
			return err
		}
	}
	if _, err := serve(m.Socket(), p.answer); err != nil {
		return err
	}
	slog.Info("machine is up", "machine", name)
	select {}
}
