package machine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

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

// Run runs cmd to its end inside the machine whose first process is pid (as the
// caller counts), as if it were started there. It dies with the machine. Needs
// root.
func Run(pid int, cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		// Namespaces are the thread's. It is never unlocked, so it ends with the
		// goroutine and no other code runs on it.
		runtime.LockOSThread()
		if err := enter(pid); err != nil {
			done <- err
			return
		}
		done <- cmd.Run()
	}()
	return <-done
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
