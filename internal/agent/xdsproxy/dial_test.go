package xdsproxy

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSilenceIsBounded: a pilot whose machine is gone is given up in time,
// whether the connection was idle or something was under way.
func TestSilenceIsBounded(t *testing.T) {
	address := startPilot(t, func(s adsServer) error {
		<-s.Context().Done()
		return nil
	})
	pilot, _ := newTestPilot(t, address)
	conn, err := pilot.dial.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	idle, every := option(t, conn, unix.TCP_KEEPIDLE), option(t, conn, unix.TCP_KEEPINTVL)
	if limit := idle + option(t, conn, unix.TCP_KEEPCNT)*every; limit > 15 {
		t.Errorf("an idle connection is given up after %d s", limit)
	}
	if got := time.Duration(option(t, conn, unix.TCP_USER_TIMEOUT)) * time.Millisecond; got == 0 || got > 15*time.Second {
		t.Errorf("one with data under way is given up after %v", got)
	}
}

// TestNameServerAway: a pilot that was found once is found again while nobody
// resolves its name.
func TestNameServerAway(t *testing.T) {
	address := startPilot(t, func(adsServer) error { return nil })
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	pilot, _ := newTestPilot(t, "localhost:"+port)
	d := pilot.dial
	d.lookup = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	for _, what := range []string{"found", "found again"} {
		conn, err := d.connect(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_ = conn.Close()
		d.lookup = func(ctx context.Context, _ string) ([]string, error) {
			<-ctx.Done() // a server that is gone gives no answer
			return nil, ctx.Err()
		}
	}
}

func option(t *testing.T, conn net.Conn, name int) (value int) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	failed := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, name) })
	if failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	return value
}
