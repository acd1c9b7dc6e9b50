package pilot

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"
)

// greetTimeout bounds the time to a connection's first byte, and that of a TLS
// handshake.
const greetTimeout = 5 * time.Second

// tlsRecord is the first byte of a TLS handshake (RFC 8446, 5.1: ContentType
// handshake); no HTTP request starts with it.
const tlsRecord = 22

// sniffing serves plaintext and TLS at one port: it looks at the first byte of
// a connection. What Accept returns is either plaintext, or a *tls.Conn whose
// handshake is done, so that http.Server sets Request.TLS. A client that is
// slow or refused takes a goroutine and one of the inner listener's
// connections, for greetTimeout at most.
type sniffing struct {
	net.Listener
	tls     *tls.Config // nil: TLS clients are refused
	refused func(reason string)
	log     *slog.Logger
	greeted chan accepted
	ctx     context.Context // ends with the listener
	end     context.CancelFunc
}

type accepted struct {
	conn net.Conn
	err  error
}

// newSniffing starts to accept from inner. refused is told "silent", "tls" or
// "stranger" for each connection that is not let on.
func newSniffing(inner net.Listener, config *tls.Config, refused func(string), log *slog.Logger) *sniffing {
	l := &sniffing{Listener: inner, tls: config, refused: refused, log: log, greeted: make(chan accepted)}
	l.ctx, l.end = context.WithCancel(context.Background())
	go l.loop()
	return l
}

func (l *sniffing) loop() {
	for {
		conn, err := l.Listener.Accept()
		if err == nil {
			go l.greet(conn)
			continue
		}
		// The server waits a while before it accepts again, and so does this loop.
		select {
		case l.greeted <- accepted{err: err}:
		case <-l.ctx.Done():
			return
		}
	}
}

// Accept returns a connection whose protocol is known.
func (l *sniffing) Accept() (net.Conn, error) {
	select {
	case a := <-l.greeted:
		return a.conn, a.err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close also ends the connections that are not greeted yet.
func (l *sniffing) Close() error {
	l.end()
	return l.Listener.Close()
}

func (l *sniffing) greet(raw net.Conn) {
	stop := context.AfterFunc(l.ctx, func() { _ = raw.Close() })
	conn, reason, err := l.open(raw)
	if !stop() { // closed with the listener
		return
	}
	if err != nil {
		_ = raw.Close()
		l.refused(reason)
		l.log.Warn("a connection to the monitoring port is refused", "peer", raw.RemoteAddr().String(), "reason", err.Error())
		return
	}
	select {
	case l.greeted <- accepted{conn: conn}:
	case <-l.ctx.Done():
		_ = raw.Close()
	}
}

// open finds out the protocol; the reason is for the error's metric.
func (l *sniffing) open(raw net.Conn) (conn net.Conn, reason string, err error) {
	if err := raw.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return nil, "silent", err
	}
	first := make([]byte, 1)
	if _, err := raw.Read(first); err != nil {
		return nil, "silent", err
	}
	conn = &peeked{Conn: raw, first: first}
	if first[0] == tlsRecord {
		if l.tls == nil {
			return nil, "tls", errors.New("the pilot has no certificate of its own, so that TLS is not served")
		}
		secure := tls.Server(conn, l.tls)
		if err := secure.HandshakeContext(l.ctx); err != nil {
			return nil, "stranger", err
		}
		conn = secure
	}
	return conn, "silent", raw.SetDeadline(time.Time{})
}

// peeked gives back the byte that was looked at.
type peeked struct {
	net.Conn
	first []byte
}

// Read gives the first byte, then what follows it.
func (c *peeked) Read(p []byte) (int, error) {
	if len(c.first) == 0 || len(p) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}
