package envoy

import (
	"bytes"
	"context"
	"net"
	"sync"
)

// asHTTP10 turns the request of a connection into one of HTTP/1.0, which Go's
// client does not speak.
func (d dialFunc) asHTTP10() dialFunc {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := d(ctx)
		if err != nil {
			return nil, err
		}
		return &http10Conn{Conn: conn}, nil
	}
}

// http10Conn rewrites the version in the first line that is written.
type http10Conn struct {
	net.Conn
	once sync.Once
}

func (c *http10Conn) Write(p []byte) (int, error) {
	out := p
	c.once.Do(func() { out = bytes.Replace(p, []byte(" HTTP/1.1\r\n"), []byte(" HTTP/1.0\r\n"), 1) })
	return c.Conn.Write(out)
}
