package local

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// socketName is the API socket of a mesh. It is abstract: it vanishes with its
// last holder, and has no file whose permissions could be wrong; each side
// checks the other's user instead.
func socketName(uid int, mesh string) string { return fmt.Sprintf("@weft/%d/%s", uid, mesh) }

// listenAPI opens the API socket in the host's network namespace, to which
// abstract names belong.
func listenAPI(mesh string) (*os.File, error) {
	name := socketName(os.Getuid(), mesh)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: name})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("local mesh: a mesh named %q is running already: stop it (weft down), or give this one another name (--name)", mesh)
	}
	if err != nil {
		return nil, fmt.Errorf("local mesh: API socket %s: %w", name, err)
	}
	defer l.Close()
	return l.File()
}

// peerUID is the user at the other end, as this process's user namespace shows it.
func peerUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return -1, err
	}
	if credErr != nil {
		return -1, credErr
	}
	return int(cred.Uid), nil
}

// List names the running meshes of this user.
func List() (names []string, err error) {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("local mesh: list: %w", err)
	}
	prefix := socketName(os.Getuid(), "")
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		// Columns: Num RefCount Protocol Flags Type St Inode Path; Flags has
		// __SO_ACCEPTCON (10000) on a listener.
		f := strings.Fields(line)
		if len(f) != 8 || f[3] != "00010000" {
			continue
		}
		if name, ok := strings.CutPrefix(f[7], prefix); ok && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, nil
}
