package pilot

import (
	"net"
	"sync"
)

// maxConnections bounds the connections of one xDS port; beyond it, clients
// wait in the kernel's queue.
const maxConnections = 20_000

// limited accepts a connection only while fewer than its limit are open.
type limited struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newLimited(lis net.Listener, limit int) *limited {
	return &limited{Listener: lis, slots: make(chan struct{}, limit), done: make(chan struct{})}
}

// Accept waits for a free slot, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slotted{Conn: conn, free: func() { <-l.slots }}, nil
}

// Close closes the listener and ends a wait for a slot.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type slotted struct {
	net.Conn
	once sync.Once
	free func()
}

// Close gives the slot back.
func (c *slotted) Close() error {
	c.once.Do(c.free)
	return c.Conn.Close()
}
