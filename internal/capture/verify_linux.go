package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// verifyTimeout bounds the one connection that Verify makes: it never leaves
// the pod, so it is there at once or not at all.
const verifyTimeout = 3 * time.Second

// Documentation addresses (RFC 5737, RFC 3849): nobody answers there, so that a
// connection can only have been redirected.
var nobody = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// Verify opens a connection as an app would and reports whether it came to
// OutboundPort, for each family that has a route. Call it after Apply, in the
// same namespace, as another user than the proxy's. It returns the families
// that were seen to work; none, where the options capture nothing that could
// be tried.
//
// Errors: a connection was not redirected. The pod must not start then: its
// traffic would pass by every policy.
func Verify(ctx context.Context, o Options) (seen []string, err error) {
	for _, to := range o.probes() {
		family := "IPv4"
		if to.Addr().Is6() {
			family = "IPv6"
		}
		switch err := verifyOne(ctx, to); {
		case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT):
			continue // nothing of this family can leave the pod
		case err != nil:
			return seen, fmt.Errorf("capture: a connection to %s did not come to the proxy's port %d: %w", to, OutboundPort, err)
		}
		seen = append(seen, family)
	}
	return seen, nil
}

// probes are destinations that the options capture, one for each family.
func (o Options) probes() (out []netip.AddrPort) {
	port := uint16(9) // discard
	for slices.Contains(o.ExcludeOutboundPorts, port) {
		port++
	}
	for _, to := range nobody {
		if o.IncludeOutboundCIDRs != nil {
			to = firstOf(o.IncludeOutboundCIDRs, to.Is4())
		}
		excluded := slices.ContainsFunc(o.ExcludeOutboundCIDRs, func(p netip.Prefix) bool { return p.Contains(to) })
		if to.IsValid() && !to.IsLoopback() && !excluded {
			out = append(out, netip.AddrPortFrom(to, port))
		}
	}
	return out
}

// firstOf is an address of the first CIDR of that family; invalid without one.
func firstOf(list []netip.Prefix, v4 bool) netip.Addr {
	for _, p := range list {
		if p.Addr().Is4() != v4 {
			continue
		}
		if next := p.Addr().Next(); p.Contains(next) {
			return next
		}
		return p.Addr()
	}
	return netip.Addr{}
}

func verifyOne(ctx context.Context, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), OutboundPort)
	if to.Addr().Is6() {
		at = netip.AddrPortFrom(netip.IPv6Loopback(), OutboundPort)
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if errors.Is(err, unix.EADDRINUSE) {
		listener = nil // the proxy runs already: it answers
	} else if err != nil {
		return err
	} else {
		defer listener.Close()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	return arrived(ctx, listener, conn)
}

// arrived checks that conn is what came to our listener, if it is ours.
func arrived(ctx context.Context, listener *net.TCPListener, conn net.Conn) error {
	if listener == nil {
		return nil
	}
	deadline, _ := ctx.Deadline()
	if err := listener.SetDeadline(deadline); err != nil {
		return err
	}
	came, err := listener.AcceptTCP()
	if err != nil {
		return err
	}
	defer came.Close()
	if came.RemoteAddr().(*net.TCPAddr).Port != conn.LocalAddr().(*net.TCPAddr).Port {
		return errors.New("somebody else called that port")
	}
	return nil
}
