package xdsproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/sys/unix"
)

// dialer makes connections to the pilot: TCP, then TLS with the pilot's
// identity checked, all of it inside the breaker.
type dialer struct {
	o       PilotOptions
	net     net.Dialer
	breaker *gobreaker.CircuitBreaker[net.Conn]
	lookup  func(ctx context.Context, host string) ([]string, error)
	next    atomic.Uint32 // candidate that the next connection begins with
	failing atomic.Bool   // since the last connection

	mu    sync.Mutex
	known map[string][]string // what each host's name meant last
}

func newDialer(o PilotOptions) *dialer {
	d := &dialer{o: o, known: map[string][]string{}}
	// Probes of the kernel find a pilot whose machine is gone, without any
	// cooperation of the pilot's, which HTTP/2 pings would need: well before
	// Kubernetes calls a node lost, for what the proxy must know then comes from
	// another pilot.
	d.net = net.Dialer{
		Timeout: dialTimeout, Control: o.Control,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: pilotSilence / 2, Interval: pilotSilence / 6, Count: 3},
	}
	if o.Control != nil { // look-ups must bypass capture as well
		plain := &net.Dialer{Timeout: dialTimeout, Control: o.Control}
		d.net.Resolver = &net.Resolver{PreferGo: true, Dial: plain.DialContext}
	}
	d.lookup = d.net.Resolver.LookupHost // a nil one is the default
	d.breaker = gobreaker.NewCircuitBreaker[net.Conn](gobreaker.Settings{
		Name:        "pilot",
		MaxRequests: 1,
		Timeout:     breakerOpen,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerTrips },
		IsSuccessful: func(err error) bool {
			return err == nil || errors.Is(err, context.Canceled)
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			o.Log.Debug("breaker of the pilot", "from", from.String(), "to", to.String())
			o.Metrics.breaker.Set(float64(to))
		},
	})
	return d
}

// connect returns a connection on which HTTP/2 can begin.
func (d *dialer) connect(ctx context.Context) (net.Conn, error) {
	conn, err := d.breaker.Execute(func() (net.Conn, error) { return d.first(ctx) })
	if err != nil {
		d.o.Metrics.failures.Inc()
		if d.failing.CompareAndSwap(false, true) { // one line for an outage, not one a second
			d.o.Log.Warn("pilot not reached; trying on", "error", err)
		}
		return nil, err
	}
	d.failing.Store(false)
	return conn, nil
}

// first tries every candidate once, beginning after the one that failed last.
func (d *dialer) first(ctx context.Context) (net.Conn, error) {
	candidates, err := d.candidates(ctx)
	if err != nil {
		return nil, err
	}
	var failed []error
	for range candidates {
		at := candidates[int(d.next.Load())%len(candidates)]
		conn, err := d.one(ctx, at)
		if err == nil {
			d.o.Log.Info("connected to the pilot", "address", at)
			return conn, nil
		}
		d.next.Add(1)
		failed = append(failed, fmt.Errorf("%s: %w", at, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failed...)
}

// candidates resolves each configured host to all its addresses.
func (d *dialer) candidates(ctx context.Context) ([]string, error) {
	var out []string
	var failed []error
	for _, address := range d.o.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("xdsproxy: pilot address %q: %w", address, err)
		}
		ips, err := d.resolve(ctx, host)
		if err != nil {
			failed = append(failed, err)
		}
		for _, ip := range ips {
			out = append(out, net.JoinHostPort(ip, port))
		}
	}
	if len(out) == 0 {
		return nil, errors.Join(failed...)
	}
	return out, nil
}

// resolve gives the addresses of host: those of the last answer where the name
// server gives none soon, for it may be away with the pilot's machine, and the
// address of a Service stays.
func (d *dialer) resolve(ctx context.Context, host string) ([]string, error) {
	d.mu.Lock()
	known := d.known[host]
	d.mu.Unlock()
	if len(known) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
	}
	ips, err := d.lookup(ctx, host)
	if err != nil && len(known) > 0 {
		d.o.Log.Debug("the pilot's name is not resolved; using its last addresses", "host", host, "addresses", known, "error", err)
		return known, nil
	}
	if err == nil {
		d.mu.Lock()
		d.known[host] = ips
		d.mu.Unlock()
	}
	return ips, err
}

func (d *dialer) one(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := d.net.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := limitSilence(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if d.o.TLS == nil {
		return conn, nil
	}
	secured := tls.Client(conn, d.o.TLS)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

// limitSilence ends conn when what was sent is not acknowledged for so long: the
// kernel sends no probes then, and would try again for a quarter of an hour.
// Source: tcp(7), TCP_USER_TIMEOUT.
func limitSilence(conn net.Conn) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(pilotSilence/time.Millisecond))
	})
	return errors.Join(err, failed)
}
