package machine

import (
	"fmt"
	"io"
	"net"
	"os"
)

// relayFD is where a machine inherits the listening socket of its Relay: made
// by the keeper, it belongs to the host's network namespace for ever.
const relayFD = 3

// listen opens the port of the host.
func (r Relay) listen() (*os.File, error) {
	listener, err := net.Listen("tcp", r.Listen)
	if err != nil {
		return nil, fmt.Errorf("relay to %s: %w", r.To, err)
	}
	defer func() { _ = listener.Close() }()
	return listener.(*net.TCPListener).File()
}

// serve forwards connections for ever.
func (r Relay) serve() error {
	listener, err := net.FileListener(os.NewFile(relayFD, "relay"))
	if err != nil {
		return fmt.Errorf("relay to %s: %w", r.To, err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.forward(conn.(*net.TCPConn))
		}
	}()
	return nil
}

// forward joins one connection with one to r.To, each direction to its end.
func (r Relay) forward(near *net.TCPConn) {
	defer func() { _ = near.Close() }()
	conn, err := net.Dial("tcp", r.To)
	if err != nil {
		return
	}
	far := conn.(*net.TCPConn)
	defer func() { _ = far.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, near)
		_ = far.CloseWrite()
	}()
	_, _ = io.Copy(near, far)
	_ = near.CloseWrite()
	<-done
}
