package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is an open network namespace. It keeps the namespace alive until
// Close.
type Namespace struct{ file *os.File }

// OpenNamespace opens that of process pid.
func OpenNamespace(pid int) (*Namespace, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("network: namespace of process %d: %w", pid, err)
	}
	return &Namespace{f}, nil
}

// Close gives the namespace up; open connections stay.
func (n *Namespace) Close() error { return n.file.Close() }

// Do runs f on a thread that is inside the namespace. What f opens stays there;
// goroutines that f starts are not inside.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, so that no other
		// one can land in the wrong namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("network: enter namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

// DialContext connects from inside the namespace, to an IP address and port:
// as the pod itself would, so that its loopback is reached. As it is neither
// the app's user nor the proxy's, capture sends what leaves the pod to the proxy.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		return nil, fmt.Errorf("network: dial %s: not an IP address; names mean nothing outside of the pod", address)
	}
	err = n.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
