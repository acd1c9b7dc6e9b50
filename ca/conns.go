package ca

import (
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// connLimiter is a net.Listener that closes connections over the limits at once,
// before a handshake costs anything.
type connLimiter struct {
	net.Listener
	open    prometheus.Gauge
	dropped prometheus.Counter

	mu    sync.Mutex
	total int
	peers map[netip.Addr]int
}

func limitConns(l net.Listener, m *metrics) *connLimiter {
	return &connLimiter{Listener: l, open: m.conns, dropped: m.dropped, peers: map[netip.Addr]int{}}
}

// Accept waits for a connection that is within the limits.
func (l *connLimiter) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := ipOf(conn.RemoteAddr())
		if l.add(from) {
			return &limitedConn{Conn: conn, done: sync.OnceFunc(func() { l.remove(from) })}, nil
		}
		l.dropped.Inc()
		_ = conn.Close()
	}
}

// ipOf is the address of a TCP peer, without its port.
func ipOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (l *connLimiter) add(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxConns || l.peers[from] >= maxConnsPerPeer {
		return false
	}
	l.total++
	l.peers[from]++
	l.open.Inc()
	return true
}

func (l *connLimiter) remove(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.peers[from]--; l.peers[from] == 0 {
		delete(l.peers, from)
	}
	l.open.Dec()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	done func()
}

// Close closes the connection; it may be called more than once.
func (c *limitedConn) Close() error {
	defer c.done()
	return c.Conn.Close()
}
