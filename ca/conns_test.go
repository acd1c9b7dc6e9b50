package ca

import (
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestSilentAddressesGiveWay: many addresses that say nothing on connections by
// the dozen cannot fill the CSR port.
func TestSilentAddressesGiveWay(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConns(inner, 8, 4, newMetrics(prometheus.NewRegistry(), time.Now))
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				one := make([]byte, 1)
				if _, err := c.Read(one); err == nil {
					_, _ = c.Write(one) // the caller sees what is missing
				}
			}()
		}
	}()
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	for _, silent := range []string{"127.0.0.2", "127.0.0.3"} {
		for range 4 {
			dial(silent)
		}
	}
	c := dial("127.0.0.4")
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("a caller was not served while two others held every place: %v", err)
	}
}
