package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/capture"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/network"
	"github.com/weftmesh/weft/internal/local/pod"
)

// proxy stands for Envoy: it says on each connection which of its ports was
// reached, and for which address. Given an address, it connects there instead.
func proxy(args []string) error {
	if args[0] != "listen" {
		d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) (err error) {
			if args[1] == "0" {
				return nil
			}
			_ = c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(capture.ProxyMark))
			})
			return err
		}}
		c, err := d.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		fmt.Println("connected", c.RemoteAddr())
		return c.Close()
	}
	for _, port := range []string{":15001", ":15006", ":8080"} {
		l, err := net.Listen("tcp", port)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 4096)) // unread bytes would make Close a reset
				fmt.Fprintf(c, "HTTP/1.0 200 OK\r\n\r\nproxy%s", port)
				c.Close()
			}
		}()
	}
	fmt.Println("listening")
	select {}
}

func TestCapturedPod(t *testing.T) { runScenario(t, "captured") }

// captured: the app's calls and the calls to it reach the proxy; the proxy's
// own do not; what is off the mesh is refused at once.
func captured(ctx context.Context, m *local.Mesh) error {
	plain, err := m.StartPod(ctx, spec(m, "plain", me("web", "serve", ":80")), nil)
	if err != nil {
		return err
	}
	side := me("proxy", "proxy", "listen")
	side.Proxy = true
	s := spec(m, "side", app("app", "/bin/sleep", "infinity"), side)
	s.Capture = &capture.Options{DNS: true}
	p, err := m.StartPod(ctx, s, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(until(ctx, plain.Log("web"), "listening"), until(ctx, p.Log("proxy"), "listening")); err != nil {
		return err
	}
	for _, a := range append([]netip.Addr{netip.MustParseAddr("10.96.3.4"), netip.MustParseAddr("fd00:10:96::34")}, plain.Spec().Addresses...) {
		out, err := run(ctx, p, "curl -s http://"+net.JoinHostPort(a.String(), "80"))
		if err != nil || out != "proxy:15001" {
			return fmt.Errorf("the app calls %v: %q, %v", a, out, err)
		}
	}
	for _, a := range s.Addresses {
		out, err := run(ctx, plain, "curl -s http://"+net.JoinHostPort(a.String(), "8080"))
		if err != nil || out != "proxy:15006" {
			return fmt.Errorf("%v:8080 is called from outside: %q, %v", a, out, err)
		}
		// A probe is not captured: it asks the app itself.
		if out, err := get(ctx, p.HTTPClient(), "http://"+net.JoinHostPort(a.String(), "8080")); err != nil || out != "proxy:8080" {
			return fmt.Errorf("probe of %v: %q, %v", a, out, err)
		}
	}
	for _, a := range plain.Spec().Addresses {
		if _, err := asProxy(ctx, m, p, net.JoinHostPort(a.String(), "80")); err != nil {
			return fmt.Errorf("the proxy calls %v: %w", a, err)
		}
	}
	for _, off := range []string{"192.0.2.1:80", "[2001:db8::1]:80", "10.244.200.200:80", "10.96.200.200:80", "[fd00:10:244::ffff]:80", "[fd00:10:96::ffff]:80"} {
		begun := time.Now()
		out, err := asProxy(ctx, m, p, off)
		if err == nil {
			return fmt.Errorf("the proxy reached %s: %q", off, out)
		}
		fmt.Println("off the mesh:", off, time.Since(begun).Round(time.Millisecond), strings.TrimSpace(out))
		if !strings.Contains(out, "refused") {
			return fmt.Errorf("%s is off the mesh, but not refused: %s", off, out)
		}
	}
	return nil
}

// asProxy connects from the pod as its proxy does.
func asProxy(ctx context.Context, m *local.Mesh, p *pod.Pod, address string) (string, error) {
	return runAs(ctx, p, pod.ExecRequest{Argv: []string{"/proc/self/exe", "proxy", address, fmt.Sprint(m.ProxyMark())}, As: "proxy"})
}

func TestServicesWithoutProxy(t *testing.T) { runScenario(t, "services") }

// services: a pod without proxy reaches ClusterIPs, evenly, itself among them.
func services(ctx context.Context, m *local.Mesh) error {
	client, err := m.StartPod(ctx, spec(m, "client", me("web", "serve", ":80")), nil)
	if err != nil {
		return err
	}
	pods := []*pod.Pod{client}
	for _, name := range []string{"b", "c"} {
		p, err := m.StartPod(ctx, spec(m, name, me("web", "serve", ":80")), nil)
		if err != nil {
			return err
		}
		pods = append(pods, p)
	}
	service := network.Service{IPs: []netip.Addr{netip.MustParseAddr("10.96.0.7"), netip.MustParseAddr("fd00:10:96::7")}, Port: 8000}
	for _, p := range pods {
		if err := until(ctx, p.Log("web"), "listening"); err != nil {
			return err
		}
		for _, a := range p.Spec().Addresses {
			service.Endpoints = append(service.Endpoints, netip.AddrPortFrom(a, 80))
		}
	}
	empty := network.Service{IPs: []netip.Addr{netip.MustParseAddr("10.96.0.8")}, Port: 8000}
	for range 2 { // again replaces
		if err := m.SetServices([]network.Service{service, empty}); err != nil {
			return err
		}
	}
	for _, ip := range service.IPs {
		url := "http://" + net.JoinHostPort(ip.String(), "8000")
		out, err := run(ctx, client, "for i in $(seq 90); do curl -m 20 -s "+url+"; echo; done")
		if err != nil {
			return err
		}
		for _, name := range []string{"client ", "b ", "c "} {
			if n := strings.Count("\n"+out, "\n"+name); n < 10 || n > 60 {
				return fmt.Errorf("%s: %d of 90 went to %s: %s", url, n, name, out)
			}
		}
	}
	if out, err := run(ctx, client, "curl -s -m 20 http://10.96.0.8:8000"); err == nil {
		return fmt.Errorf("a service without endpoints answered %q", out)
	}
	return nil
}
