package envoy

import (
	"bytes"
	"context"
	"net"
	"net/textproto"
	"sync"
)

// headBytes is as much of a connection as is kept to see how names of headers
// are written.
const headBytes = 4096

// head keeps the first bytes that a connection carried to its reader.
type head struct {
	mu    sync.Mutex
	bytes []byte
}

func (h *head) add(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if room := headBytes - len(h.bytes); room > 0 {
		h.bytes = append(h.bytes, b[:min(room, len(b))]...)
	}
}

// asWritten reports whether a header's name came as Go's library writes it, and
// not in lower case.
func (h *head) asWritten(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return bytes.Contains(h.bytes, []byte("\r\n"+textproto.CanonicalMIMEHeaderKey(name)+":"))
}

// heard has what is read from the connections kept in h.
func (d dialFunc) heard(h *head) dialFunc {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := d(ctx)
		if err != nil {
			return nil, err
		}
		return &heardConn{Conn: conn, head: h}, nil
	}
}

type heardConn struct {
	net.Conn
	head *head
}

func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.head.add(b[:n])
	return n, err
}
