// Package xdsproxy connects the pod to the pilot: it relays Envoy's ADS
// streams from a Unix socket, frame by frame, and opens the agent's own.
//
// Inputs: the pilot's addresses, a TLS configuration that proves who we
// are and verifies who it is, and Envoy's streams. Outputs: one upstream stream for each downstream one, over
// one connection; metrics. Of the agent it may import nothing, and of Envoy's
// protos it needs none: what passes is not decoded.
package xdsproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// PilotOptions say where the pilot is and who it must be.
type PilotOptions struct {
	// Addresses are HOST:PORT, tried in turn; a host with several addresses
	// counts as several.
	Addresses []string
	// TLS presents our certificate and verifies the pilot's identity; nil means
	// plaintext, which is allowed to loopback addresses only.
	TLS *tls.Config
	// Ready returns once TLS has a certificate to show, or ctx's error; nil: at
	// once. Until then nothing is dialled: having no certificate yet is no
	// fault of the pilot's.
	Ready func(ctx context.Context) error
	// Control prepares each socket, as net.Dialer.Control; nil: not at all.
	Control func(network, address string, c syscall.RawConn) error
	Log     *slog.Logger
	// Metrics count; required.
	Metrics *Metrics
}

// Times of the connection to the pilot. A pilot that restarts is found within
// about two seconds, and an agent that cannot find it asks about once a second.
const (
	dialTimeout    = 3 * time.Second
	lookupTimeout  = time.Second      // where an older answer is known
	pilotSilence   = 12 * time.Second // of a machine that is gone; a node is lost after 40 to 50
	backOffBase    = 100 * time.Millisecond
	backOffMax     = time.Second
	breakerOpen    = time.Second
	breakerTrips   = 5
	maxMessageSize = 64 << 20
	streamWindow   = 1 << 20
)

// Pilot is a connection to the pilot that is made when first needed and again
// whenever lost. It is a grpc.ClientConnInterface whose calls wait until the
// pilot is there. Close it.
type Pilot struct {
	conn  *grpc.ClientConn
	dial  *dialer
	ready func(context.Context) error
}

// NewPilot checks o and prepares the connection without making it.
func NewPilot(o PilotOptions) (*Pilot, error) {
	if len(o.Addresses) == 0 {
		return nil, errors.New("xdsproxy: no pilot address: set --pilot HOST:PORT")
	}
	if o.TLS == nil {
		if err := onlyLoopback(o.Addresses); err != nil {
			return nil, err
		}
	}
	d := newDialer(o)
	conn, err := grpc.NewClient("passthrough:///pilot",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the dialer does TLS
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.connect(ctx) }),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: backOffBase, Multiplier: 1.6, Jitter: 0.3, MaxDelay: backOffMax},
			MinConnectTimeout: dialTimeout * time.Duration(len(o.Addresses)),
		}),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(2*streamWindow),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(maxMessageSize)),
	)
	if err != nil {
		return nil, fmt.Errorf("xdsproxy: %w", err)
	}
	return &Pilot{conn: conn, dial: d, ready: o.Ready}, nil
}

// Close ends the connection and all its streams.
func (p *Pilot) Close() error { return p.conn.Close() }

// NewStream opens a stream once the pilot is there; it is part of
// grpc.ClientConnInterface.
func (p *Pilot) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if p.ready != nil {
		if err := p.ready(ctx); err != nil {
			return nil, err
		}
	}
	return p.conn.NewStream(ctx, desc, method, opts...)
}

// Invoke is the other part of grpc.ClientConnInterface.
func (p *Pilot) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if p.ready != nil {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	return p.conn.Invoke(ctx, method, args, reply, opts...)
}

// BreakerState is the state of the breaker around dialling.
func (p *Pilot) BreakerState() gobreaker.State { return p.dial.breaker.State() }

func onlyLoopback(addresses []string) error {
	for _, a := range addresses {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			return fmt.Errorf("xdsproxy: pilot address %q: %w", a, err)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("xdsproxy: plaintext to pilot %q: only a loopback address may be asked without TLS", a)
		}
	}
	return nil
}
