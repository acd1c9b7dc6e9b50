package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Forwarder asks the pod's own resolvers.
type Forwarder struct {
	servers  []string // HOST:PORT, in order of preference
	dial     *net.Dialer
	free     chan struct{} // one token for each question that may be under way
	log      *slog.Logger
	requests prometheus.Counter
	failures prometheus.Counter
}

// Bounds of forwarding: glibc gives up on a server after 5 s, so we must have
// tried the next one by then.
const (
	forwardTimeout = 2 * time.Second
	maxForwarded   = 256
)

// ErrNoUpstream means that there is nobody to forward to.
var ErrNoUpstream = errors.New("nameserver: no upstream server")

// NewForwarder asks servers (HOST or HOST:PORT; port 53 if none). control
// prepares each socket, as net.Dialer.Control, and may be nil.
func NewForwarder(servers []string, control func(string, string, syscall.RawConn) error, log *slog.Logger) (*Forwarder, error) {
	if len(servers) == 0 {
		return nil, ErrNoUpstream
	}
	f := &Forwarder{
		dial: &net.Dialer{Timeout: forwardTimeout, Control: control},
		free: make(chan struct{}, maxForwarded),
		log:  log,
		requests: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dns_upstream_requests_total", Help: "DNS questions forwarded."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dns_upstream_failures_total", Help: "DNS questions forwarded that no server answered."}),
	}
	for _, s := range servers {
		if _, err := netip.ParseAddr(s); err == nil { // with a zone, too: fe80::1%eth0
			s = net.JoinHostPort(s, "53")
		}
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, fmt.Errorf("nameserver: --dns-upstream %q: %w", s, err)
		}
		f.servers = append(f.servers, s)
	}
	return f, nil
}

// ask returns the first server's answer, whatever it is, or SERVFAIL.
func (f *Forwarder) ask(ctx context.Context, q *dns.Msg, udp bool) *dns.Msg {
	f.requests.Inc()
	select {
	case f.free <- struct{}{}:
		defer func() { <-f.free }()
	default:
		f.failures.Inc()
		return failure(q, dns.RcodeServerFailure)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*forwardTimeout)
	defer cancel()
	for _, server := range f.servers {
		m, err := f.exchange(ctx, server, q, udp)
		if err == nil {
			m.Id, m.Question = q.Id, q.Question
			m.Compress = true
			return m
		}
		f.log.Debug("DNS server did not answer", "server", server, "error", err)
	}
	f.failures.Inc()
	return failure(q, dns.RcodeServerFailure)
}

// exchange asks with an id and a port of its own, so that an answer cannot be
// forged by somebody who sees only the question.
func (f *Forwarder) exchange(ctx context.Context, server string, q *dns.Msg, udp bool) (*dns.Msg, error) {
	own := q.Copy()
	own.Id = dns.Id()
	client := &dns.Client{Net: "tcp", Timeout: forwardTimeout, Dialer: f.dial, UDPSize: udpSize}
	if udp {
		client.Net = "udp"
	}
	m, _, err := client.ExchangeContext(ctx, own, server)
	return m, err
}
