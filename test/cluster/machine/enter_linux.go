package machine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces in which a program runs that is sent into a machine. The mounts
// come last: the others' files are in the host's /proc.
var namespaces = []struct {
	file string
	kind int
}{
	{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC},
	{"cgroup", unix.CLONE_NEWCGROUP}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS},
}

// Enter runs a program to its end inside the machine whose first process is
// pid (as the caller counts), as if it were started there, with this process's
// input and output. It dies with this process and with the machine. Needs root.
//
// It changes the namespaces of the thread that calls it, for ever: a process of
// its own must do that.
func Enter(pid int, argv []string) error {
	runtime.LockOSThread()
	if err := enter(pid); err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{"become"}, argv...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// Become turns this process into another program that dies with its parent. (Go
// can ask for that when it forks, but takes a parent in another pid namespace
// for a dead one.)
func Become(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	return syscall.Exec(path, argv, os.Environ())
}

// enter moves this thread, and so what it starts, into the machine.
func enter(pid int) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, ns := range namespaces {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.file))
		if err != nil {
			return fmt.Errorf("machine of process %d: %w", pid, err)
		}
		files = append(files, f)
	}
	// A thread that shares its working directory with others cannot change mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	for i, ns := range namespaces {
		if err := unix.Setns(int(files[i].Fd()), ns.kind); err != nil {
			return fmt.Errorf("enter %s namespace of process %d: %w", ns.file, pid, err)
		}
	}
	return nil
}
