package injector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of a server: a caller that is slow or silent holds a connection for
// no longer, and no more than maxConnections are open; further callers wait in
// the kernel's queue.
const (
	maxConnections = 512
	headerTime     = 5 * time.Second
	bodyTime       = 10 * time.Second
	answerTime     = 20 * time.Second
	idleTime       = 2 * time.Minute
	maxHeader      = 16 << 10
)

// serve answers on l until ctx ends; what has begun is finished, for a while.
func serve(ctx context.Context, l net.Listener, pages http.Handler) error {
	server := &http.Server{
		Handler: pages, ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: answerTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return ctx.Err()
	}
	return fmt.Errorf("injector: %s: %w", l.Addr(), err)
}

// limited accepts a connection only while fewer than its limit are open.
type limited struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), done: make(chan struct{})}
}

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

func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type slotted struct {
	net.Conn
	once sync.Once
	free func()
}

func (c *slotted) Close() error {
	c.once.Do(c.free)
	return c.Conn.Close()
}
