package local

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout bounds a connect to a pod: it is on this machine.
const dialTimeout = 5 * time.Second

// Publication is a listener of the host whose connections go on to a pod.
type Publication struct {
	listener net.Listener
	to       atomic.Pointer[netip.AddrPort]
}

// Publish opens an address of the host, such as "127.0.0.1:8080", and passes
// what comes there on to an address in the mesh. Errors are those of Listen.
func (m *Mesh) Publish(ctx context.Context, address string, to netip.AddrPort) (*Publication, error) {
	l, err := m.Listen(ctx, address)
	if err != nil {
		return nil, err
	}
	p := &Publication{listener: l}
	p.to.Store(&to)
	go p.accept()
	return p, nil
}

// SetTarget changes where new connections go; open ones stay.
func (p *Publication) SetTarget(to netip.AddrPort) { p.to.Store(&to) }

// Addr is the address on the host.
func (p *Publication) Addr() net.Addr { return p.listener.Addr() }

// Close gives the port back. Open connections go on until they end.
func (p *Publication) Close() error { return p.listener.Close() }

func (p *Publication) accept() {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as too many open files: others may close some
			<-time.After(10 * time.Millisecond)
			continue
		}
		go p.join(c.(*net.TCPConn))
	}
}

// join connects both sides until both have ended. The kernel moves the bytes
// (splice) where both are TCP connections.
func (p *Publication) join(client *net.TCPConn) {
	defer client.Close()
	c, err := net.DialTimeout("tcp", p.to.Load().String(), dialTimeout)
	if err != nil {
		_ = client.SetLinger(0) // the client sees a reset, as from a closed port
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { pass(server, client) })
	both.Go(func() { pass(client, server) })
	both.Wait()
}

// pass copies one direction and passes its end on. A direction that breaks
// takes the other with it.
func pass(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.SetLinger(0)
		to.Close()
		from.Close()
		return
	}
	_ = to.CloseWrite() // it may be closed already
}
