package fair

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// from dials l from an address of the loopback network.
func from(t *testing.T, l net.Listener, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// echoing answers every byte on up to most connections.
func echoing(t *testing.T, most int) net.Listener {
	t.Helper()
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listener(inner, most)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l
}

func answers(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		t.Fatal("a connection is neither served nor closed")
	}
	return err == nil
}

// TestGreedyGivesWay: a thousand silent connections of one address keep out
// neither those that were there nor those that come.
func TestGreedyGivesWay(t *testing.T) {
	l := echoing(t, 8)
	first := from(t, l, "127.0.0.2")
	if !answers(t, first) {
		t.Fatal("the first connection is not served")
	}
	var greedy []net.Conn
	for range 40 {
		greedy = append(greedy, from(t, l, "127.0.0.3"))
	}
	for n := range 3 {
		if c := from(t, l, "127.0.0.4"); !answers(t, c) {
			t.Errorf("newcomer %d is not served", n)
		}
	}
	if !answers(t, first) {
		t.Error("the first connection was closed for another's")
	}
	served := 0
	for _, c := range greedy {
		if answers(t, c) {
			served++
		}
	}
	if served != 4 {
		t.Errorf("%d of the greedy one's connections are served, want those 4 that nobody else needs", served)
	}
}

// TestNewcomerAmongEquals: where nobody has more than others, who was there
// stays; and a place is free again after a Close.
func TestNewcomerAmongEquals(t *testing.T) {
	l := echoing(t, 2)
	a, b := from(t, l, "127.0.0.2"), from(t, l, "127.0.0.3")
	if !answers(t, a) || !answers(t, b) {
		t.Fatal("not served")
	}
	if c := from(t, l, "127.0.0.4"); answers(t, c) {
		t.Error("a third of two is served")
	}
	if !answers(t, a) || !answers(t, b) {
		t.Error("a newcomer took the place of one that has no more than it")
	}
	_ = a.Close()
	deadline := time.Now().Add(10 * time.Second)
	for !answers(t, from(t, l, "127.0.0.5")) {
		if time.Now().After(deadline) {
			t.Fatal("a place that was given back is not given again")
		}
	}
}
