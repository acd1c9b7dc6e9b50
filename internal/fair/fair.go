// Package fair bounds the connections of a listener so that who takes most gives
// way: one caller who opens connections by the thousand, and says nothing on
// them, keeps no other caller out, such as the kubelet with its one probe. And it
// gives out turns by the same law: a crowd of one group keeps no other group
// waiting.
//
// In: a net.Listener, or callers with the names of their group. Out: a
// net.Listener, or turns. It may import the standard library alone.
package fair

import (
	"net"
	"net/netip"
	"sync"
)

// Listener bounds the connections of inner that are open at once to most, which
// must be 1 or more. One too many is made up for at once: the newest connection
// of the address with the most of them is closed, which is the newcomer itself
// where no other address has more.
func Listener(inner net.Listener, most int) net.Listener {
	return &listener{Listener: inner, most: most, of: map[netip.Addr][]*conn{}}
}

type listener struct {
	net.Listener
	most int

	mu    sync.Mutex
	total int
	of    map[netip.Addr][]*conn // oldest first; no entry is empty
}

// Accept never waits for room.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, from: addressOf(raw.RemoteAddr()), home: l}
		loser := l.add(c)
		if loser != nil {
			_ = loser.Close() // whoever reads from it sees its end
		}
		if loser != c {
			return c, nil
		}
	}
}

// addressOf is the address of a TCP peer; all others count as one.
func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// add notes a connection and returns the one that has to go for it; nil: none.
func (l *listener) add(c *conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	l.of[c.from] = append(l.of[c.from], c)
	if l.total <= l.most {
		return nil
	}
	greedy := l.of[c.from]
	for _, list := range l.of {
		if len(list) > len(greedy) {
			greedy = list
		}
	}
	return greedy[len(greedy)-1]
}

func (l *listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.of[c.from]
	for i, other := range list {
		if other != c {
			continue
		}
		l.total--
		list[i] = nil
		if list = append(list[:i], list[i+1:]...); len(list) == 0 {
			delete(l.of, c.from)
		} else {
			l.of[c.from] = list
		}
		return
	}
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	from netip.Addr
	home *listener
}

// Close may be called more than once.
func (c *conn) Close() error {
	c.home.remove(c)
	return c.Conn.Close()
}
