package envoy

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/simulate"
)

// Keepalive reads the options of the proxy's own socket of the connection on
// which a request was seen. The connection must be open still.
func (p *Proxy) Keepalive(s Seen) (simulate.Keepalive, error) {
	process, err := unix.PidfdOpen(p.cmd.Process.Pid, 0)
	if err != nil {
		return simulate.Keepalive{}, fmt.Errorf("pidfd_open of Envoy: %w", err)
	}
	defer func() { _ = unix.Close(process) }()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		return simulate.Keepalive{}, err
	}
	for _, f := range files {
		number, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(process, number, 0)
		if errors.Is(err, unix.EBADF) {
			continue // closed meanwhile
		}
		if err != nil {
			return simulate.Keepalive{}, fmt.Errorf("pidfd_getfd of Envoy's: %w", err)
		}
		local, _ := unix.Getsockname(fd)
		if at, ok := local.(*unix.SockaddrInet4); ok && at.Port == s.From && isStream(fd) {
			defer func() { _ = unix.Close(fd) }()
			return keepalive(fd)
		}
		_ = unix.Close(fd)
	}
	return simulate.Keepalive{}, fmt.Errorf("no connection of Envoy's from port %d", s.From)
}

func isStream(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_STREAM
}

func keepalive(fd int) (out simulate.Keepalive, err error) {
	read := func(level, option int) (n int) {
		if err == nil {
			n, err = unix.GetsockoptInt(fd, level, option)
		}
		return n
	}
	out.On = read(unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 0
	out.Time = time.Duration(read(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)) * time.Second
	out.Interval = time.Duration(read(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)) * time.Second
	out.Probes = uint32(read(unix.IPPROTO_TCP, unix.TCP_KEEPCNT))
	return out, err
}
