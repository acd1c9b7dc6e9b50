package ca

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/fair"
)

// Limits of what a peer may use before and after it has proved who it is.
const (
	maxMessage      = 64 << 10 // bytes of one request
	maxHeaders      = 16 << 10 // bytes of request headers; a token has at most 8 kB
	maxStreams      = 16       // calls at once on one connection
	maxConns        = 4096     // connections at once
	maxConnsPerPeer = 64       // of them, from one address
	maxMonitoring   = 256      // connections at once to the monitoring port
	handshakeTime   = 10 * time.Second
	idleTime        = 30 * time.Second
	connectionAge   = 5 * time.Minute
	drainTime       = 5 * time.Second // for calls in hand when the CA stops
)

// serveCSR serves the CSR service on l until ctx is done.
func (a *authority) serveCSR(ctx context.Context, l net.Listener) error {
	s := &service{
		proof: a.proof, admit: a.admit, roster: a.roster, epoch: a.epoch, metrics: a.metrics, log: a.log,
		rate: newLimiter[identity.Pod](rateBurst, rateEvery), peers: newLimiter[netip.Addr](addressBurst, addressEvery), turns: a.turns,
	}
	server := grpc.NewServer(a.serverOptions(s)...)
	securityapi.RegisterIstioCertificateServiceServer(server, s)
	enroll.RegisterTrust(server, s)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		stop(server)
	}()
	if err := server.Serve(limitConns(l, maxConns, maxConnsPerPeer, a.metrics)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("ca: CSR service: %w", err)
	}
	<-stopped
	return nil
}

// stop lets the calls in hand finish, but no longer than drainTime.
func stop(server *grpc.Server) {
	timer := time.AfterFunc(drainTime, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}

func (a *authority) serverOptions(s *service) []grpc.ServerOption {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		// Clients prove themselves by token: most have no certificate yet.
		GetCertificate: a.certificate,
	}
	return []grpc.ServerOption{
		grpc.Creds(credentials.NewTLS(config)),
		grpc.UnaryInterceptor(s.recoverPanics),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleTime, MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: idleTime,
			Time: idleTime, Timeout: handshakeTime,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: idleTime / 2, PermitWithoutStream: true}),
	}
}

// serveMonitoring serves /metrics and /ready on l until ctx is done.
func (a *authority) serveMonitoring(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { a.ready(ctx, w) })
	a.rotator.control(ctx, mux)
	server := &http.Server{
		Handler: mux, MaxHeaderBytes: maxHeaders,
		ReadTimeout: handshakeTime, WriteTimeout: handshakeTime, IdleTimeout: idleTime,
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(fair.Listener(l, maxMonitoring)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ca: monitoring: %w", err)
	}
	return nil
}

// ready answers 200 while the CA can sign, else 503 and why not.
func (a *authority) ready(ctx context.Context, w http.ResponseWriter) {
	s, now := a.signing.Load(), time.Now()
	switch {
	case ctx.Err() != nil || a.stopping.Load():
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	case s == nil:
		http.Error(w, "no signing key yet: is the API server away?", http.StatusServiceUnavailable)
	case now.After(s.issuer.Expiry()):
		http.Error(w, "the CA's certificate has expired", http.StatusServiceUnavailable)
	case now.After(s.own.Current().Leaf.NotAfter):
		http.Error(w, "the serving certificate has expired", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ready")
	}
}
