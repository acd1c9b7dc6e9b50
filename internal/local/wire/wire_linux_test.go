package wire_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/local/wire"
)

type message struct{ Text string }

// pair gives both ends in this process.
func pair(t *testing.T) (a, b *wire.Conn) {
	t.Helper()
	a, file, err := wire.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	b = wire.New(c.(*net.UnixConn))
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestMessages: each message arrives whole, in order, with its own files.
func TestMessages(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := wire.FD(w)
	if err != nil {
		t.Fatal(err)
	}
	sent := []struct {
		text string
		fds  []int
	}{{"small", nil}, {"with a file", []int{fd}}, {strings.Repeat("large", 1<<20), []int{fd, fd}}, {"", nil}}
	done := make(chan error, 1)
	go func() {
		var all error
		for _, s := range sent {
			all = errors.Join(all, a.Send(message{s.text}, s.fds...))
		}
		done <- all
	}()
	var got []int
	for i, s := range sent {
		var m message
		fds, err := b.Receive(&m)
		if err != nil || m.Text != s.text || len(fds) != len(s.fds) {
			t.Fatalf("message %d: %d bytes, %d files, %v; want %d and %d", i, len(m.Text), len(fds), err, len(s.text), len(s.fds))
		}
		got = append(got, fds...)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := os.NewFile(uintptr(got[0]), "pipe").WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	wire.CloseAll(got[1:])
	buf := make([]byte, 5)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("through the passed file: %q, %v", buf, err)
	}
}

// TestEnd: a peer that is gone is io.EOF, also in the middle of a message.
func TestEnd(t *testing.T) {
	a, b := pair(t)
	a.Close()
	if _, err := b.Receive(&message{}); !errors.Is(err, io.EOF) {
		t.Errorf("after the peer closed: %v, want io.EOF", err)
	}
	for what, raw := range map[string]string{
		"half a length":  "\x00\x00",
		"half a message": "\x00\x00\x00\x09{\"Te",
	} {
		mine, file, err := wire.Pair()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		file.Close()
		if _, err := mine.Receive(&message{}); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, want io.EOF", what, err)
		}
	}
}

// TestGarbage: what is no message is an error and takes no memory.
func TestGarbage(t *testing.T) {
	for what, raw := range map[string]string{
		"a length beyond all bounds": "\xff\xff\xff\xff",
		"no JSON":                    "\x00\x00\x00\x03abc",
	} {
		mine, file, err := wire.Pair()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		if _, err := mine.Receive(&message{}); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, want an error", what, err)
		}
		file.Close()
		mine.Close()
	}
}
