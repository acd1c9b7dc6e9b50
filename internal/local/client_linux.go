package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/local/pod"
	"github.com/weftmesh/weft/internal/local/wire"
)

// Client reaches a running mesh of this user.
type Client struct{ name string }

// Connect finds the mesh of that name; empty means DefaultName. ErrNotRunning
// (wrapped) tells that there is none.
func Connect(name string) (*Client, error) {
	if name == "" {
		name = DefaultName
	}
	c := &Client{name: name}
	conn, err := c.dial(context.Background())
	if err != nil {
		return nil, err
	}
	return c, conn.Close()
}

// dial connects to the API socket and checks that it is this user's.
func (c *Client) dial(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socketName(os.Getuid(), c.name))
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("local mesh %q: %w%s", c.name, ErrNotRunning, others())
	}
	if err != nil {
		return nil, fmt.Errorf("local mesh %q: %w", c.name, err)
	}
	u := conn.(*net.UnixConn)
	// Any user may take an abstract name.
	if uid, err := peerUID(u); err != nil || uid != os.Getuid() {
		u.Close()
		return nil, fmt.Errorf("local mesh %q: its socket belongs to user %d, not to you", c.name, uid)
	}
	return u, nil
}

// others tells what is running instead.
func others() string {
	names, err := List()
	if err != nil || len(names) == 0 {
		return ": start one with weft up"
	}
	return ": running are " + strings.Join(names, ", ") + " (--name)"
}

// Name is the mesh's name.
func (c *Client) Name() string { return c.name }

// HTTP makes requests to the mesh; the host in their URLs does not matter:
// http://mesh/v1/mesh.
func (c *Client) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}}
}

// Exec is a command to run in a pod of the mesh.
type Exec struct {
	Namespace, Pod string
	Request        pod.ExecRequest
	// Stdin, Stdout and Stderr are handed to the command as they are.
	Stdin, Stdout, Stderr *os.File
	// Signals, which may be nil, are passed on to the command's process group.
	Signals <-chan os.Signal
}

// Exec runs a command in a pod and returns how it ended. The command is killed
// when ctx is done, or when this process ends. Where the error is that there is no
// such program, or that it cannot be run, the Exit's code is a shell's, 127 or 126.
func (c *Client) Exec(ctx context.Context, e Exec) (pod.Exit, error) {
	u, err := c.dial(ctx)
	if err != nil {
		return pod.Exit{}, err
	}
	defer u.Close()
	defer context.AfterFunc(ctx, func() { u.Close() })()
	if err := upgrade(u, execCall{Namespace: e.Namespace, Pod: e.Pod, Request: e.Request}); err != nil {
		return pod.Exit{}, errors.Join(ctx.Err(), err)
	}
	exit, err := e.talk(wire.New(u))
	if ctx.Err() != nil {
		return pod.Exit{}, ctx.Err()
	}
	return exit, err
}

// upgrade asks for the exec and turns the connection over to package wire.
func upgrade(u *net.UnixConn, call execCall) error {
	body, err := json.Marshal(call)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, "http://mesh/v1/exec", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", execProtocol)
	if err := request.Write(u); err != nil {
		return err
	}
	// After 101 the mesh says nothing before it has our files: nothing is lost
	// in this buffer.
	response, err := http.ReadResponse(bufio.NewReader(u), request) //nolint:bodyclose // the body is the connection, which the caller closes
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		return errors.New(strings.TrimSpace(string(text)))
	}
	return nil
}

// talk hands over the files, then signals, until the command has ended.
func (e Exec) talk(conn *wire.Conn) (pod.Exit, error) {
	fds := make([]int, 3)
	for i, f := range []*os.File{e.Stdin, e.Stdout, e.Stderr} {
		fd, err := wire.FD(f)
		if err != nil {
			return pod.Exit{}, fmt.Errorf("exec: standard file %d: %w", i, err)
		}
		fds[i] = fd
	}
	if err := conn.Send(execMessage{}, fds...); err != nil {
		return pod.Exit{}, err
	}
	over := make(chan struct{})
	defer close(over)
	go e.passSignals(conn, over)
	var last execMessage
	got, err := conn.Receive(&last)
	wire.CloseAll(got)
	switch {
	case errors.Is(err, io.EOF):
		return pod.Exit{}, errors.New("exec: the mesh ended")
	case err != nil:
		return pod.Exit{}, err
	case last.Exit == nil:
		return pod.Exit{}, errors.New(last.Error)
	case last.Error != "":
		return *last.Exit, errors.New(last.Error)
	}
	return *last.Exit, nil
}

func (e Exec) passSignals(conn *wire.Conn, over <-chan struct{}) {
	for {
		select {
		case s, ok := <-e.Signals:
			if !ok {
				return
			}
			if n, ok := s.(syscall.Signal); ok {
				_ = conn.Send(execMessage{Signal: n}) // it has ended: Receive tells
			}
		case <-over:
			return
		}
	}
}
