package envoy

import (
	"bufio"
	stdtls "crypto/tls"
	"io"
	"net"
	"net/http"
	"time"
)

// tunnelled reports whether a request asks the endpoint, which is a proxy then,
// to carry a connection. Calls themselves have a header that says so.
func tunnelled(r *http.Request) bool {
	return r.Header.Get(callHeader) == "" && (r.Method == http.MethodConnect || r.Method == http.MethodPost)
}

// carry plays the end of the tunnel: what comes through it is answered as if it
// had come on a connection of its own.
func (s *sniffer) carry(w http.ResponseWriter, r *http.Request) {
	own, ok := r.Context().Value(connKey{}).(*peeked)
	if !ok {
		return
	}
	var conn net.Conn
	rc := http.NewResponseController(w)
	if r.ProtoMajor == 1 && r.Method == http.MethodConnect {
		raw, rest, err := rc.Hijack()
		if err != nil {
			return
		}
		defer func() { _ = raw.Close() }()
		if _, err := io.WriteString(raw, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return
		}
		conn = &carried{Conn: raw, in: rest.Reader, out: raw, flush: func() error { return nil }}
	} else {
		if r.ProtoMajor == 1 && rc.EnableFullDuplex() != nil {
			return
		}
		w.WriteHeader(http.StatusOK)
		if rc.Flush() != nil {
			return
		}
		conn = &carried{Conn: own, in: bufio.NewReader(r.Body), out: w, flush: rc.Flush}
	}
	s.serve(conn, &outer{said: r.Method + " " + r.Host + " " + r.Proto, tls: own.tls})
}

// outer is what carries a connection.
type outer struct {
	said string                  // as Seen.Tunnel
	tls  *stdtls.ConnectionState // of the connection that the request came on
}

// carried is a connection within a request. Its end is that of the request.
type carried struct {
	net.Conn // for its addresses
	in       *bufio.Reader
	out      io.Writer
	flush    func() error
}

func (c *carried) Read(b []byte) (int, error) { return c.in.Read(b) }

func (c *carried) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	if err == nil {
		err = c.flush()
	}
	return n, err
}

func (c *carried) Close() error                     { return nil }
func (c *carried) SetDeadline(time.Time) error      { return nil }
func (c *carried) SetReadDeadline(time.Time) error  { return nil }
func (c *carried) SetWriteDeadline(time.Time) error { return nil }
