package capture_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/capture"
)

// patience ends a test that hangs; no test waits for it when all is well.
const patience = 10 * time.Second

// TestMain runs the tests in a network namespace of their own.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "dial" {
		fmt.Print(ask(&net.Dialer{Timeout: patience}, "tcp", os.Args[2]))
		return
	}
	if os.Getenv("WEFT_IN_NAMESPACE") != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "WEFT_IN_NAMESPACE=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// The pod is the test's own namespace; a client and server is outside of it.
var (
	podV4, outsideV4 = netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")
	podV6, outsideV6 = netip.MustParseAddr("fd01::1"), netip.MustParseAddr("fd01::2")
)

// outside is the network namespace at the other end of the pod's interface.
var outside netns.NsHandle

func TestCapture(t *testing.T) {
	build(t)
	t.Run("verify", testVerify) // first: it listens on the proxy's port itself
	for _, port := range []uint16{capture.OutboundPort, capture.InboundPort, capture.DNSPort, 8080, 15021, 9000} {
		listen(t, fmt.Sprintf(":%d", port))
	}
	// Not on the wildcard address: the answer would come from the pod's own
	// address, which the translation does not know.
	answerUDP(t, fmt.Sprintf("127.0.0.1:%d", capture.DNSPort))
	answerUDP(t, fmt.Sprintf("[::1]:%d", capture.DNSPort))
	inOutside(t, func() { listen(t, ":7000"); listen(t, ":7001"); listen(t, ":53") })
	for name, proxy := range proxies() {
		t.Run(name, func(t *testing.T) { testProxy(t, proxy) })
	}
	t.Run("choices", testChoices)
	t.Run("remove", testRemove)
	t.Run("interfaces", testInterfaces)
	t.Run("bad options", testBadOptions)
}

// caller connects as the proxy does.
type caller struct {
	options capture.Proxy
	ask     func(address string) string
}

func proxies() map[string]caller {
	list := map[string]caller{"mark": {capture.Proxy{Mark: capture.ProxyMark}, func(address string) string {
		return ask(&net.Dialer{Timeout: patience, Control: marked}, "tcp", address)
	}}}
	if os.Getuid() == 0 && mapsMany() {
		list["uid"] = caller{capture.Proxy{UID: capture.ProxyUID}, askAsProxyUser}
	}
	return list
}

// mapsMany tells whether this user namespace has a user 1337.
func mapsMany() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(text))
	if err != nil || len(f) < 3 {
		return false
	}
	n, err := strconv.Atoi(f[2])
	return err == nil && n > int(capture.ProxyUID)
}

func marked(_, _ string, c syscall.RawConn) error {
	var err error
	return firstError(c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(capture.ProxyMark))
	}), err)
}

func firstError(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

func askAsProxyUser(address string) string {
	cmd := exec.Command("/proc/self/exe", "dial", address)
	cmd.Env = append(os.Environ(), "WEFT_IN_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: capture.ProxyUID, Gid: capture.ProxyUID}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return err.Error() + string(out)
	}
	return string(out)
}

func testProxy(t *testing.T, proxy caller) {
	apply(t, capture.Options{Proxy: proxy.options, DNS: true})
	app := func(address string) string { return ask(&net.Dialer{Timeout: patience}, "tcp", address) }
	for _, c := range []struct {
		what string
		ask  func(string) string
		to   string
		want string // "PORT-REACHED ORIGINAL-DESTINATION"
	}{
		{"the app calls a ClusterIP", app, "10.96.0.10:80", "15001 10.96.0.10:80"},
		{"the app calls a ClusterIP", app, "[fd00:96::10]:80", "15001 [fd00:96::10]:80"},
		{"the app calls another pod", app, "10.1.0.2:7000", "15001 10.1.0.2:7000"},
		{"the app calls another pod", app, "[fd01::2]:7000", "15001 [fd01::2]:7000"},
		{"the proxy calls another pod", proxy.ask, "10.1.0.2:7000", "7000 10.1.0.2:7000"},
		{"the proxy calls another pod", proxy.ask, "[fd01::2]:7000", "7000 [fd01::2]:7000"},
		{"the app calls loopback", app, "127.0.0.1:8080", "8080 127.0.0.1:8080"},
		{"the app calls loopback", app, "[::1]:8080", "8080 [::1]:8080"},
		{"the app calls its pod's address", app, "10.1.0.1:8080", "8080 10.1.0.1:8080"},
		{"the app calls its pod's address", app, "[fd01::1]:8080", "8080 [fd01::1]:8080"},
		{"the proxy calls its own pod for a service", proxy.ask, "10.1.0.1:8080", "15006 10.1.0.1:8080"},
		{"the proxy calls its own pod for a service", proxy.ask, "[fd01::1]:8080", "15006 [fd01::1]:8080"},
		{"the proxy calls loopback", proxy.ask, "127.0.0.1:8080", "8080 127.0.0.1:8080"},
		{"the proxy calls loopback", proxy.ask, "[::1]:8080", "8080 [::1]:8080"},
		{"the app asks a resolver", app, "9.9.9.9:53", "15053 9.9.9.9:53"},
		{"the app asks a resolver", app, "[fd00:9::9]:53", "15053 [fd00:9::9]:53"},
		{"the app asks a local resolver", app, "127.0.0.53:53", "15053 127.0.0.53:53"},
		{"the proxy asks a resolver", proxy.ask, "10.1.0.2:53", "53 10.1.0.2:53"},
	} {
		if got := c.ask(c.to); got != c.want {
			t.Errorf("%s, %s: reached %q, want %q", c.what, c.to, got, c.want)
		}
	}
	testInbound(t)
	testHandOver(t)
	testUDP(t)
}

// testInbound: others call the pod.
func testInbound(t *testing.T) {
	t.Helper()
	for to, want := range map[string]string{
		"10.1.0.1:8080":   "15006 10.1.0.1:8080",
		"[fd01::1]:8080":  "15006 [fd01::1]:8080",
		"10.1.0.1:4711":   "15006 10.1.0.1:4711", // no such port: for the proxy to tell
		"10.1.0.1:15021":  "15021 10.1.0.1:15021",
		"[fd01::1]:15021": "15021 [fd01::1]:15021",
	} {
		if got := fromOutside(t, to); got != want {
			t.Errorf("from outside to %s: reached %q, want %q", to, got, want)
		}
	}
}

// testHandOver: the proxy calls its app from the pass-through address.
func testHandOver(t *testing.T) {
	t.Helper()
	for from, to := range map[netip.Addr]string{capture.PassthroughV4: "10.1.0.1:8080", capture.PassthroughV6: "[fd01::1]:8080"} {
		d := &net.Dialer{Timeout: patience, Control: marked, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		if got := ask(d, "tcp", to); got != "8080 "+to {
			t.Errorf("from %v to %s: reached %q, want the app's port", from, to, got)
		}
	}
}

// testUDP: a query gets its answer from the address it asked.
func testUDP(t *testing.T) {
	t.Helper()
	for _, to := range []string{"9.9.9.9:53", "127.0.0.53:53", "[fd00:9::9]:53"} {
		if got := ask(&net.Dialer{Timeout: patience}, "udp", to); got != "dns query" {
			t.Errorf("udp to %s: answer %q, want that of the agent", to, got)
		}
	}
}

func testChoices(t *testing.T) {
	mark := capture.Proxy{Mark: capture.ProxyMark}
	cidr := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	for _, c := range []struct {
		what    string
		options capture.Options
		to      string
		want    string
	}{
		{"excluded port", capture.Options{ExcludeOutboundPorts: []uint16{7000}}, "10.1.0.2:7000", "7000 10.1.0.2:7000"},
		{"another port than the excluded", capture.Options{ExcludeOutboundPorts: []uint16{7000}}, "10.1.0.2:7001", "15001 10.1.0.2:7001"},
		{"excluded CIDR", capture.Options{ExcludeOutboundCIDRs: cidr("10.1.0.0/16")}, "10.1.0.2:7000", "7000 10.1.0.2:7000"},
		{"excluded IPv6 CIDR", capture.Options{ExcludeOutboundCIDRs: cidr("fd01::/16")}, "[fd01::2]:7000", "7000 [fd01::2]:7000"},
		{"outside of the excluded CIDR", capture.Options{ExcludeOutboundCIDRs: cidr("10.128.0.0/9")}, "10.1.0.2:7000", "15001 10.1.0.2:7000"},
		{"included CIDR", capture.Options{IncludeOutboundCIDRs: cidr("10.0.0.0/12")}, "10.1.0.2:7000", "15001 10.1.0.2:7000"},
		{"outside of the included CIDR", capture.Options{IncludeOutboundCIDRs: cidr("10.96.0.0/12")}, "10.1.0.2:7000", "7000 10.1.0.2:7000"},
		{"no CIDR included", capture.Options{IncludeOutboundCIDRs: []netip.Prefix{}}, "[fd01::2]:7000", "7000 [fd01::2]:7000"},
		{"included port, no CIDR", capture.Options{IncludeOutboundCIDRs: []netip.Prefix{}, IncludeOutboundPorts: []uint16{7001}}, "10.1.0.2:7001", "15001 10.1.0.2:7001"},
		{"DNS off: as any port", capture.Options{}, "10.1.0.2:53", "15001 10.1.0.2:53"},
	} {
		c.options.Proxy = mark
		apply(t, c.options)
		if got := ask(&net.Dialer{Timeout: patience}, "tcp", c.to); got != c.want {
			t.Errorf("%s: %s reached %q, want %q", c.what, c.to, got, c.want)
		}
	}
	for _, c := range []struct {
		options capture.Options
		want    string
	}{
		{capture.Options{ExcludeInboundPorts: []uint16{8080}}, "8080 10.1.0.1:8080"},
		{capture.Options{IncludeInboundPorts: []uint16{9000}}, "8080 10.1.0.1:8080"},
		{capture.Options{IncludeInboundPorts: []uint16{8080}}, "15006 10.1.0.1:8080"},
		{capture.Options{IncludeInboundPorts: []uint16{8080}, ExcludeInboundPorts: []uint16{8080}}, "8080 10.1.0.1:8080"},
	} {
		c.options.Proxy = mark
		apply(t, c.options)
		if got := fromOutside(t, "10.1.0.1:8080"); got != c.want {
			t.Errorf("inbound with %+v: reached %q, want %q", c.options, got, c.want)
		}
	}
}

func testRemove(t *testing.T) {
	apply(t, capture.Options{Proxy: capture.Proxy{Mark: capture.ProxyMark}})
	for range 2 { // the second time there is nothing to remove
		if err := capture.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := ask(&net.Dialer{Timeout: patience}, "tcp", "10.1.0.2:7000"), "7000 10.1.0.2:7000"; got != want {
		t.Errorf("after Remove: reached %q, want %q", got, want)
	}
}

func testInterfaces(t *testing.T) {
	mark := capture.Proxy{Mark: capture.ProxyMark}
	apply(t, capture.Options{Proxy: mark, ExcludeInterfaces: []string{"eth0"}})
	if got := fromOutside(t, "10.1.0.1:8080"); got != "8080 10.1.0.1:8080" {
		t.Errorf("in by an excluded interface: reached %q", got)
	}
	if got, want := ask(&net.Dialer{Timeout: patience}, "tcp", "10.1.0.2:7000"), "7000 10.1.0.2:7000"; got != want {
		t.Errorf("out by an excluded interface: reached %q, want %q", got, want)
	}
	apply(t, capture.Options{Proxy: mark, RerouteInterfaces: []string{"eth0"}, ExcludeOutboundPorts: []uint16{9000}})
	for to, want := range map[string]string{"10.1.0.1:8080": "15001 10.1.0.1:8080", "10.1.0.1:9000": "9000 10.1.0.1:9000"} {
		if got := fromOutside(t, to); got != want {
			t.Errorf("from a virtual machine's interface to %s: reached %q, want %q", to, got, want)
		}
	}
}

func testBadOptions(t *testing.T) {
	for want, o := range map[string]capture.Options{
		"set a uid or a mark": {},
		"and not lo":          {Proxy: capture.Proxy{Mark: 1}, ExcludeInterfaces: []string{"lo"}},
		"host bits zero":      {Proxy: capture.Proxy{Mark: 1}, ExcludeOutboundCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}},
	} {
		if err := capture.Apply(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Apply(%+v) = %v, want an error with %q", o, err, want)
		}
	}
}

func apply(t *testing.T, o capture.Options) {
	t.Helper()
	if err := capture.Apply(o); err != nil {
		t.Fatal(err)
	}
}

// build connects the pod's namespace with one outside.
func build(t *testing.T) {
	t.Helper()
	made := make(chan netns.NsHandle)
	go func() { // its thread is in the other namespace and ends with it
		runtime.LockOSThread()
		h, err := netns.New()
		if err != nil {
			panic(err)
		}
		made <- h
	}()
	outside = <-made
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "eth0"})
	veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(outside)
	must(t, netlink.LinkAdd(veth))
	here, err := netlink.NewHandle()
	must(t, err)
	there, err := netlink.NewHandleAt(outside)
	must(t, err)
	setUp(t, here, podV4, podV6)
	setUp(t, there, outsideV4, outsideV6)
	for _, via := range []netip.Addr{outsideV4, outsideV6} {
		link, err := here.LinkByName("eth0")
		must(t, err)
		must(t, here.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: via.AsSlice()}))
	}
	lo, err := here.LinkByName("lo")
	must(t, err)
	must(t, here.AddrAdd(lo, addr(capture.PassthroughV6, 128)))
}

func addr(a netip.Addr, bits int) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}, Flags: flags(a)}
}

func flags(a netip.Addr) int {
	if a.Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

func setUp(t *testing.T, h *netlink.Handle, v4, v6 netip.Addr) {
	t.Helper()
	for _, name := range []string{"lo", "eth0"} {
		link, err := h.LinkByName(name)
		must(t, err)
		must(t, h.LinkSetUp(link))
		if name == "eth0" {
			must(t, h.AddrAdd(link, addr(v4, 24)))
			must(t, h.AddrAdd(link, addr(v6, 64)))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inOutside runs f on a thread that is outside of the pod.
func inOutside(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		err := netns.Set(outside)
		if err == nil {
			f()
		}
		done <- err
	}()
	must(t, <-done)
}

func fromOutside(t *testing.T, to string) (answer string) {
	t.Helper()
	inOutside(t, func() { answer = ask(&net.Dialer{Timeout: patience}, "tcp", to) })
	return answer
}

// listen answers each connection with the listener's port and the connection's
// original destination.
func listen(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, port, _ := net.SplitHostPort(l.Addr().String())
			fmt.Fprintf(c, "%s %s", port, originalDestination(c.(*net.TCPConn)))
			c.Close()
		}
	}()
}

// answerUDP answers each query with itself.
func answerUDP(t *testing.T, address string) {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(append([]byte("dns "), buf[:n]...), from)
		}
	}()
}

// ask connects and gives what it is told, or the error.
func ask(d *net.Dialer, network, address string) string {
	c, err := d.Dial(network, address)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if network == "udp" {
		buf := make([]byte, 512)
		if _, err := c.Write([]byte("query")); err != nil {
			return err.Error()
		}
		n, err := c.Read(buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
	text, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// originalDestination asks as Envoy's original_dst filter does; without a
// translation, the kernel's answer is the local address.
func originalDestination(c *net.TCPConn) string {
	local := c.LocalAddr().(*net.TCPAddr).AddrPort()
	raw, err := c.SyscallConn()
	if err != nil {
		return err.Error()
	}
	var got netip.AddrPort
	var optErr error
	err = raw.Control(func(fd uintptr) { got, optErr = originalOf(int(fd), local.Addr().Unmap().Is4()) })
	if err != nil {
		return err.Error()
	}
	if errors.Is(optErr, unix.ENOENT) { // not tracked: outside of the pod
		return netip.AddrPortFrom(local.Addr().Unmap(), local.Port()).String()
	}
	if optErr != nil {
		return optErr.Error()
	}
	return got.String()
}

func originalOf(fd int, v4 bool) (netip.AddrPort, error) {
	if v4 {
		// struct sockaddr_in fits into struct ipv6_mreq: port at 2, address at 4.
		m, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, unix.SO_ORIGINAL_DST)
		if err != nil {
			return netip.AddrPort{}, err
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Multiaddr[4:8])), binary.BigEndian.Uint16(m.Multiaddr[2:4])), nil
	}
	info, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, unix.SO_ORIGINAL_DST)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := make([]byte, 2)
	binary.NativeEndian.PutUint16(port, info.Addr.Port)
	return netip.AddrPortFrom(netip.AddrFrom16(info.Addr.Addr), binary.BigEndian.Uint16(port)), nil
}
