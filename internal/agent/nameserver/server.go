package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// udpSize is the largest UDP message read and written: what goes through most
// paths unfragmented (DNS flag day 2020).
const udpSize = 1232

// Server answers from a Table, and forwards the rest.
type Server struct {
	table   *Table
	forward *Forwarder // nil: nothing lies outside of the mesh
	log     *slog.Logger
	turn    atomic.Uint32
	asked   prometheus.Counter
}

// NewServer returns a Server; forward may be nil. Metrics are registered with
// metrics under the names that Istio's agent has.
func NewServer(table *Table, forward *Forwarder, metrics prometheus.Registerer, log *slog.Logger) *Server {
	s := &Server{table: table, forward: forward, log: log}
	s.asked = prometheus.NewCounter(prometheus.CounterOpts{Name: "dns_requests_total", Help: "DNS questions received."})
	names := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dns_names", Help: "Names of the mesh that are held."},
		func() float64 { return float64(table.Len()) })
	metrics.MustRegister(s.asked, names)
	if forward != nil {
		metrics.MustRegister(forward.requests, forward.failures)
	}
	return s
}

// Bound are open sockets that Serve reads from.
type Bound struct {
	packets   []net.PacketConn
	listeners []net.Listener
}

// Listen opens UDP and TCP on each address; ::1 among others is left out where
// the pod has no IPv6. It is apart from Serve so that the
// agent is known to listen before anything is told that it does.
func Listen(ctx context.Context, addresses []string) (Bound, error) {
	var b Bound
	for _, address := range addresses {
		packets, listener, err := listenBoth(ctx, address)
		if len(addresses) > 1 && noIPv6(address, err) {
			continue // a pod without IPv6 asks nothing by it
		}
		if err != nil {
			return Bound{}, errors.Join(fmt.Errorf("nameserver: --dns-listen %s: %w", address, err), b.Close())
		}
		b.packets, b.listeners = append(b.packets, packets), append(b.listeners, listener)
	}
	return b, nil
}

// noIPv6 reports whether err says that this pod has no ::1 to listen on.
func noIPv6(address string, err error) bool {
	return strings.HasPrefix(address, "[::1]:") && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT))
}

// listenBoth opens one port for UDP and TCP. Where the address leaves the port
// to the kernel, what is free for one may be taken for the other: then it asks
// again.
func listenBoth(ctx context.Context, address string) (net.PacketConn, net.Listener, error) {
	var config net.ListenConfig
	for attempt := 0; ; attempt++ {
		packets, err := config.ListenPacket(ctx, "udp", address)
		if err != nil {
			return nil, nil, err
		}
		listener, err := config.Listen(ctx, "tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, listener, nil
		}
		_ = packets.Close()
		if !strings.HasSuffix(address, ":0") || attempt == 20 {
			return nil, nil, err
		}
	}
}

// Inherit takes the n sockets, UDP and TCP in turns, that this process was started
// with, from a descriptor on. Whoever holds them too keeps what is asked while no
// agent lives. They are not passed on to what this process starts.
func Inherit(first, n int) (b Bound, err error) {
	for fd := first; fd < first+n; fd++ {
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "inherited")
		if (fd-first)%2 == 0 {
			var p net.PacketConn
			p, err = net.FilePacketConn(f)
			b.packets = append(b.packets, p)
		} else {
			var l net.Listener
			l, err = net.FileListener(f)
			b.listeners = append(b.listeners, l)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return Bound{}, fmt.Errorf("nameserver: --dns-sockets %d: descriptor %d: %w", n, fd, err)
		}
	}
	return b, nil
}

// Files are the sockets in the order in which Inherit takes them. They stay open
// when b is closed.
func (b Bound) Files() (all []*os.File, err error) {
	for i := range b.packets {
		for _, socket := range []any{b.packets[i], b.listeners[i]} {
			f, err := socket.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				return all, fmt.Errorf("nameserver: %w", err)
			}
			all = append(all, f)
		}
	}
	return all, nil
}

// Address is the first address listened on; "" without any.
func (b Bound) Address() string {
	if len(b.packets) == 0 {
		return ""
	}
	return b.packets[0].LocalAddr().String()
}

// Close closes all sockets.
func (b Bound) Close() error {
	var failed []error
	for _, p := range b.packets {
		failed = append(failed, p.Close())
	}
	for _, l := range b.listeners {
		failed = append(failed, l.Close())
	}
	return errors.Join(failed...)
}

// Serve answers until ctx ends. It closes b.
func (s *Server) Serve(ctx context.Context, b Bound) error {
	var servers []*dns.Server
	for _, p := range b.packets {
		servers = append(servers, &dns.Server{PacketConn: p, Handler: s.handler(true), UDPSize: udpSize})
	}
	for _, l := range b.listeners {
		servers = append(servers, &dns.Server{Listener: l, Handler: s.handler(false), MaxTCPQueries: 128})
	}
	ended := make(chan error, len(servers))
	for _, server := range servers {
		go func() { ended <- server.ActivateAndServe() }()
	}
	select {
	case <-ctx.Done():
		return errors.Join(ctx.Err(), ignoreClosed(b.Close()))
	case err := <-ended:
		return errors.Join(fmt.Errorf("nameserver: %w", err), ignoreClosed(b.Close()))
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) handler(udp bool) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		s.asked.Inc()
		if m := s.Answer(context.Background(), q, udp); m != nil {
			_ = w.WriteMsg(m) // an asker that is gone needs no answer
		}
	})
}

// Answer is the whole reply to q, which came by UDP or TCP; nil when q must
// not be answered at all, for it is itself an answer.
func (s *Server) Answer(ctx context.Context, q *dns.Msg, udp bool) *dns.Msg {
	switch {
	case q.Response:
		return nil
	case q.Opcode != dns.OpcodeQuery:
		return fit(failure(q, dns.RcodeNotImplemented), q, udp)
	case len(q.Question) != 1:
		return fit(failure(q, dns.RcodeFormatError), q, udp)
	case q.Question[0].Qclass != dns.ClassINET:
		return fit(failure(q, dns.RcodeRefused), q, udp)
	}
	return fit(s.resolve(ctx, q, udp), q, udp)
}

// resolve asks the table, then the pod's own resolver. Without one, a name that
// the table lacks does not exist; but while the table has not come yet, nobody
// knows, and the asker should retry.
func (s *Server) resolve(ctx context.Context, q *dns.Msg, udp bool) *dns.Msg {
	ours := s.table.answer(q, s.turn.Add(1))
	switch {
	case ours != nil && (s.forward == nil || hasAddressType(q)):
		return ours
	case ours != nil:
		// A type that the table has not (SRV, TXT) may be the resolver's to
		// know. That the name itself does not exist is not its to say.
		if theirs := s.forward.ask(ctx, q, udp); theirs.Rcode == dns.RcodeSuccess {
			return theirs
		}
		return ours
	case s.forward != nil:
		return s.forward.ask(ctx, q, udp)
	case !s.table.Synced():
		return failure(q, dns.RcodeServerFailure)
	}
	return notFound(q)
}

func hasAddressType(q *dns.Msg) bool {
	kind := q.Question[0].Qtype
	return kind == dns.TypeA || kind == dns.TypeAAAA
}
