package local

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// listenError says what is wrong with a host address, and who has it.
func listenError(address string, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("port %s of this machine is taken%s: stop that program, or publish elsewhere", address, holder(address))
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("port %s of this machine: ports below 1024 need root: publish on a higher one (--publish): %w", address, err)
	}
	return fmt.Errorf("listen on %s of this machine: %w", address, err)
}

// holder names the process that listens there, as " by NAME (pid N)"; empty
// where this user cannot see it.
func holder(address string) string {
	want, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if inode, ok := listening(line, want.Port()); ok {
				inodes["socket:["+inode+"]"] = true
			}
		}
	}
	return holderOf(inodes)
}

// listening reads a line of /proc/net/tcp: "sl local rem st ... inode".
func listening(line string, port uint16) (inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "0A" {
		return "", false
	}
	_, hex, _ := strings.Cut(f[1], ":")
	n, err := strconv.ParseUint(hex, 16, 16)
	return f[9], err == nil && uint16(n) == port
}

func holderOf(inodes map[string]bool) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well formed
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !inodes[target] {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(process + "/comm")
		if err == nil {
			return fmt.Sprintf(" by %s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(process))
		}
	}
	return ""
}
