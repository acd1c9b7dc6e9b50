package envoy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFD is the descriptor under which an Envoy holds its lock file: the first
// of exec.Cmd.ExtraFiles.
const lockFD = 3

// process is a running Envoy, started or adopted. Its pidfd means that no
// signal can ever reach another process that was given the same pid.
type process struct {
	pid   int
	pidfd *os.File
	done  chan struct{} // closed when the process has ended

	identity string // the pid, and when the process was started
}

// watch opens a pidfd for pid and closes done when the process ends. reap, if
// any, is then called: a child's Wait.
func watch(pid int, reap func()) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("envoy: pidfd of process %d: %w", pid, err)
	}
	p := &process{pid: pid, pidfd: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{}), identity: identity(pid)}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, p.pidfd.Close())
	}
	go func() {
		defer close(p.done)
		// The runtime's poller waits, without a thread: a pidfd becomes
		// readable when its process ends.
		_ = raw.Read(func(fd uintptr) bool {
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(ready, 0)
			return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
		})
		if reap != nil {
			reap()
		}
	}()
	return p, nil
}

func (p *process) signal(s unix.Signal) error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), s, nil, 0) }); err != nil {
		return err
	}
	return sent
}

// errHeld: another process holds the lock.
var errHeld = errors.New("envoy: the lock is held")

// takeLock opens path and locks it. The lock belongs to the open file, so a
// child that inherits the descriptor holds it for as long as it lives, through
// the death of its parent: there is no moment at which an Envoy runs unseen.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("envoy: lock file: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(errHeld, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("envoy: lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// holder finds the process that holds the lock file at path as an Envoy does,
// trying the hint first; 0 when there is none (yet).
func holder(path string, hint int) int {
	lock, err := os.Stat(path)
	if err != nil {
		return 0
	}
	if holds(hint, lock) {
		return hint
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && holds(pid, lock) {
			return pid
		}
	}
	return 0
}

// holds reports whether pid has lock open as lockFD and is past its exec: a
// child of the dead agent that has not become Envoy yet runs our own binary.
func holds(pid int, lock fs.FileInfo) bool {
	if pid <= 0 || pid == os.Getpid() {
		return false
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	open, err := os.Stat(filepath.Join(dir, "fd", strconv.Itoa(lockFD)))
	if err != nil || !os.SameFile(open, lock) {
		return false
	}
	theirs, err := os.Stat(filepath.Join(dir, "exe"))
	if err != nil {
		return false
	}
	ours, err := os.Stat("/proc/self/exe")
	return err == nil && !os.SameFile(theirs, ours)
}

// readPID reads a pid file; 0 if there is none or it makes no sense.
func readPID(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// describe says how a child ended.
func describe(cmd *exec.Cmd, err error) string {
	if cmd.ProcessState != nil {
		return cmd.ProcessState.String()
	}
	return fmt.Sprint(err)
}

// identity is "PID/START", where START is field 22 of proc_pid_stat(5); of a
// process that has ended it is the pid alone. What is before the last ")" may
// hold spaces.
func identity(pid int) string {
	id := strconv.Itoa(pid)
	text, err := os.ReadFile(filepath.Join("/proc", id, "stat"))
	if err != nil {
		return id
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const start = 22 - 3 // the third is the first after the name
	if len(fields) <= start {
		return id
	}
	return id + "/" + fields[start]
}
