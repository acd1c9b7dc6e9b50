package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/internal/agent/nameserver"
	"github.com/weftmesh/weft/internal/fair"
)

// network opens the agent's own connections. Where capture knows the proxy by
// a socket mark, they carry it, or they would end in Envoy.
type network struct{ mark uint32 }

// control sets the mark on a socket; nil without one.
func (n network) control() func(string, string, syscall.RawConn) error {
	if n.mark == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(n.mark))
		})
		if failed != nil {
			failed = fmt.Errorf("agent: socket mark %d: %w: it needs CAP_NET_ADMIN", n.mark, failed)
		}
		return errors.Join(err, failed)
	}
}

// dial opens a TCP connection; look-ups carry the mark as well.
func (n network) dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, Control: n.control(), Resolver: n.resolver()}
	return d.DialContext(ctx, "tcp", address)
}

// resolver looks names up; nil: as every process does.
func (n network) resolver() *net.Resolver {
	if n.mark == 0 {
		return nil
	}
	plain := net.Dialer{Timeout: 5 * time.Second, Control: n.control()}
	return &net.Resolver{PreferGo: true, Dial: plain.DialContext}
}

// sockets are all that an agent listens on.
type sockets struct {
	xds, secret, tap, count []net.Listener
	status                  []net.Listener
	admin                   net.Listener
	dns                     nameserver.Bound
}

// listen opens everything before Envoy is started, so that a taken port is an
// error that names it and not an Envoy that waits.
func listen(ctx context.Context, o Options) (sockets, error) {
	var s sockets
	for _, socket := range []struct {
		name string
		into *[]net.Listener
	}{{"xds.sock", &s.xds}, {"sds.sock", &s.secret}, {"tap.sock", &s.tap}, {"count.sock", &s.count}} {
		l, err := listenUnix(ctx, o.socket(socket.name), 0o600)
		if err != nil {
			return s, err
		}
		*socket.into = append(*socket.into, l)
	}
	var err error
	if s.status, err = listenStatus(ctx, o); err != nil {
		return s, err
	}
	if s.admin, err = (&net.ListenConfig{}).Listen(ctx, "tcp", loopbackPort(o.Ports.Admin)); err != nil {
		return s, fmt.Errorf("agent: administration port: %w", err)
	}
	s.dns, err = o.DNS.bind(ctx)
	return s, err
}

func (o DNSOptions) answers() bool { return o.Sockets > 0 || len(o.Listen) > 0 }

func (o DNSOptions) bind(ctx context.Context) (nameserver.Bound, error) {
	if o.Sockets > 0 {
		return nameserver.Inherit(firstSocket, o.Sockets)
	}
	return nameserver.Listen(ctx, o.Listen)
}

// firstSocket comes after stdin, stdout and stderr, as with systemd's sd_listen_fds.
const firstSocket = 3

// listenStatus opens the status port, on loopback and beyond it on the pod's own
// addresses: Prometheus reads the merged metrics there, and the kubelet asks for
// health.
func listenStatus(ctx context.Context, o Options) (all []net.Listener, err error) {
	for _, ip := range statusAddresses(o.Node.IPs) {
		address := netip.AddrPortFrom(ip, o.Ports.Status).String()
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return all, fmt.Errorf("agent: status port: %w", err)
		}
		all = append(all, l)
	}
	return all, nil
}

func statusAddresses(ips []netip.Addr) []netip.Addr {
	out := []netip.Addr{localhost}
	for _, ip := range ips {
		if ip != localhost {
			out = append(out, ip)
		}
	}
	return out
}

// listenUnix replaces the socket that a killed agent left: the run directory
// is ours, or claim would have failed.
func listenUnix(ctx context.Context, path string, mode os.FileMode) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("agent: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: %w", err), l.Close())
	}
	return l, nil
}

// serving runs a gRPC server until its context ends. Streams are cut, not
// waited for: they never end by themselves.
func serving(s *grpc.Server, on []net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		context.AfterFunc(ctx, s.Stop)
		if err := s.Serve(on[0]); err != nil {
			return fmt.Errorf("agent: %s: %w", on[0].Addr(), err)
		}
		return ctx.Err()
	}
}

// maxStatus bounds the connections of the status port, at each of the pod's
// addresses, which the whole cluster reaches.
const maxStatus = 128

func servingHTTP(s *http.Server, on []net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		context.AfterFunc(ctx, func() { _ = s.Close() })
		ended := make(chan error, len(on))
		for _, l := range on {
			go func() { ended <- s.Serve(fair.Listener(l, maxStatus)) }()
		}
		err := <-ended
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("agent: status port: %w", err)
	}
}

// claimTimeout lets an agent that is being killed go.
const claimTimeout = 5 * time.Second

// claim makes the run directory, closed to others, and takes it for this agent
// until the returned file is closed or the process ends.
func claim(ctx context.Context, o Options) (*os.File, error) {
	dir, mode := o.RunDir, os.FileMode(0o700)
	if o.GroupAccess {
		mode = 0o750
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("agent: run directory: %w", err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return nil, fmt.Errorf("agent: run directory: %w: it must be this agent's own", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "agent.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("agent: run directory: %w", err)
	}
	for deadline := time.Now().Add(claimTimeout); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("agent: another agent uses %s: end it, or choose another --run-dir", dir), f.Close())
		}
	}
}

// resolvers returns the servers that DNS questions from outside of the mesh go
// to, and the suffixes of short names.
func resolvers(o Options) (servers, search []string, err error) {
	servers, search = o.DNS.Upstream, o.DNS.Search
	if len(servers) == 1 && strings.HasPrefix(servers[0], "/") {
		conf, err := dns.ClientConfigFromFile(servers[0])
		if err != nil {
			return nil, nil, fmt.Errorf("agent: --dns-upstream: %w", err)
		}
		if servers = nil; len(search) == 0 {
			search = conf.Search
		}
		for _, s := range conf.Servers {
			servers = append(servers, net.JoinHostPort(s, conf.Port))
		}
	}
	if len(search) == 0 {
		domain := "svc." + o.Node.Domain
		search = []string{o.Node.Namespace + "." + domain, domain, o.Node.Domain}
	}
	return servers, search, nil
}

// environment is Envoy's whole environment. A configuration can read it, so it
// holds what telemetry needs and nothing that the agent was trusted with; and
// it depends on the pod alone, so that a restarted agent knows its Envoy again.
func (o Options) environment() []string {
	return append(o.Node.Environment(), "WEFT_CONCURRENCY="+strconv.Itoa(o.Envoy.Concurrency))
}
