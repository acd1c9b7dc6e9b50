package ca

import (
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/fair"
)

// connLimiter is a net.Listener that closes connections of an address over its
// limit at once, before a handshake costs anything.
type connLimiter struct {
	net.Listener
	each    int // connections of one address
	open    prometheus.Gauge
	dropped prometheus.Counter

	mu    sync.Mutex
	peers map[netip.Addr]int
}

// limitConns bounds the connections of l that are open at once to most, where
// those who have many give way to those who have few, and those of one address
// to each.
func limitConns(l net.Listener, most, each int, m *metrics) *connLimiter {
	return &connLimiter{Listener: fair.Listener(l, most), each: each, open: m.conns, dropped: m.dropped, peers: map[netip.Addr]int{}}
}

// Accept waits for a connection that is within its address's limit.
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
	if l.peers[from] >= l.each {
		return false
	}
	l.peers[from]++
	l.open.Inc()
	return true
}

func (l *connLimiter) remove(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
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
