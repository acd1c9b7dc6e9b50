package envoy

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Dialled reports whether a connection that comes from an address to another, both
// of this network namespace, was opened by the running Envoy. What is routed to
// loopback by a name is so told from who looks in. An error: that cannot be known.
//
// Source: proc_pid_fd(5); proc_net(5), tcp.
func (s *Supervisor) Dialled(from, to netip.AddrPort) (bool, error) {
	inode, err := inodeOf(from, to)
	if err != nil {
		return false, err
	}
	pid := s.PID()
	if pid == 0 { // one that a killed agent left runs before it is adopted
		pid = holder(s.file("envoy.lock"), readPID(s.file("envoy.pid")))
	}
	if pid == 0 {
		return false, nil
	}
	return hasOpen(pid, "socket:["+inode+"]")
}

// hasOpen reports whether a process has a file of that name open.
func hasOpen(pid int, name string) (bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer func() { _ = open.Close() }()
	files, err := open.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	for _, file := range files {
		// One that was closed meanwhile is not the one: that is still in use.
		if target, err := os.Readlink(dir + "/" + file); err == nil && target == name {
			return true, nil
		}
	}
	return false, nil
}

// errNobody: who connected has closed its end, and would read no answer.
var errNobody = errors.New("nobody holds the other end")

// inodeOf is that of the socket at from that is connected to to. A socket for IPv6
// can speak IPv4.
func inodeOf(from, to netip.AddrPort) (string, error) {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		inode, err := inodeIn(file, from, to)
		if inode != "" || err != nil && !errors.Is(err, os.ErrNotExist) {
			return inode, err
		}
	}
	return "", errNobody
}

func inodeIn(file string, from, to netip.AddrPort) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || !is(fields[1], from) || !is(fields[2], to) {
			continue
		}
		if fields[9] == "0" { // nobody's any more
			return "", errNobody
		}
		return fields[9], nil
	}
	return "", lines.Err()
}

// is compares an address of /proc/net/tcp, hexadecimal and each word of 32 bits
// reversed (Weft runs on little-endian machines alone), with another.
func is(text string, want netip.AddrPort) bool {
	address, port, ok := strings.Cut(text, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	raw, bad := hex.DecodeString(address)
	if !ok || err != nil || bad != nil || uint16(number) != want.Port() || len(raw)%4 != 0 {
		return false
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	found, ok := netip.AddrFromSlice(raw)
	return ok && found.Unmap() == want.Addr().Unmap()
}
