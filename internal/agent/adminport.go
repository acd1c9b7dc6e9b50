package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// adminPort is Istio's port of Envoy's administration, on loopback. Envoy itself
// serves it at a socket that is the agent's alone, so that no route, whatever name
// it goes by, leads a client of the proxy there: what Envoy dials is refused.
type adminPort struct {
	to      string // Envoy's socket
	by      dialler
	log     *slog.Logger
	looking sync.Mutex // one at a time: who is refused must not cost much
	refused int
	told    time.Time // of that
}

// maxAdmins bounds the connections that are open at once.
const maxAdmins = 64

// serve takes connections until its context ends.
func (p *adminPort) serve(ctx context.Context, l net.Listener) error {
	context.AfterFunc(ctx, func() { _ = l.Close() })
	turns := make(chan struct{}, maxAdmins)
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("agent: administration port: %w", err)
		case err != nil: // as where there are too many files: no reason to end Envoy
			p.log.Warn("the administration port takes no connection now", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		select {
		case turns <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		go func() {
			defer func() { <-turns }()
			defer func() { _ = c.Close() }()
			switch err := p.pass(ctx, c); {
			case errors.Is(err, errItself):
				p.refuse(err)
			case err != nil:
				p.log.Debug("a connection to the administration port is not answered", "error", err)
			}
		}()
	}
}

// refuse tells of it, now and then: whoever makes Envoy dial again and again shall not
// fill the log.
func (p *adminPort) refuse(err error) {
	p.looking.Lock()
	defer p.looking.Unlock()
	p.refused++
	if time.Since(p.told) > time.Minute {
		p.log.Warn("a connection to the administration port is refused", "error", err, "refused", p.refused)
		p.told = time.Now()
	}
}

var errItself = errors.New("it is Envoy's own: what it proxies must not reach its administration")

// pass hands a connection on, until one of the ends closes it.
func (p *adminPort) pass(ctx context.Context, c net.Conn) error {
	if own, err := p.own(c); err != nil {
		return err
	} else if own {
		return errItself
	}
	envoy, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", p.to)
	if err != nil {
		return err
	}
	defer func() { _ = envoy.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	go func() {
		_, _ = io.Copy(envoy, c) // the client's end, or Envoy's
		_ = envoy.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(c, envoy)
	return nil
}

// own reports whether Envoy opened the connection.
func (p *adminPort) own(c net.Conn) (bool, error) {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return false, err
	}
	p.looking.Lock()
	defer p.looking.Unlock()
	return p.by.dialled(from, c.LocalAddr())
}

// dialler reports whether Envoy opened the connection between two addresses of this
// pod; nil: there is no Envoy.
type dialler func(from, to netip.AddrPort) (bool, error)

func (d dialler) dialled(from netip.AddrPort, to net.Addr) (bool, error) {
	if d == nil {
		return false, nil
	}
	if to == nil {
		return false, errors.New("agent: a connection without an address")
	}
	at, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return false, err
	}
	return d(from, at)
}
