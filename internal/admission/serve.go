package admission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Bounds of a server: a caller that is slow or silent holds a connection for
// no longer, and no more than MaxConnections are open.
const (
	MaxConnections = 256

	headerTime = 5 * time.Second
	bodyTime   = 10 * time.Second
	answerTime = 20 * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 16 << 10
)

// TLS shows the certificate of the moment. It asks for none: API servers have
// none unless they are configured so, and nothing that is answered is secret.
func TLS(certificate func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
	}
}

// Serve answers on l until ctx ends, and then returns ctx's error; what has
// begun is finished, for a while.
func Serve(ctx context.Context, l net.Listener, pages http.Handler) error {
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
	return fmt.Errorf("serve at %s: %w", l.Addr(), err)
}
