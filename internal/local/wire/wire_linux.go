package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxMessage bounds what a peer can make us hold; a pod's environment with
// large ConfigMaps is far below it.
const maxMessage = 64 << 20

// maxFiles is the kernel's limit for one message (SCM_MAX_FD).
const maxFiles = 253

// Conn is one end. Send may be called by many, Receive by one at a time.
type Conn struct {
	unix *net.UnixConn
	mu   sync.Mutex // one message at a time
}

// New uses an open connection.
func New(c *net.UnixConn) *Conn { return &Conn{unix: c} }

// Inherited is the end that a parent left open as descriptor fd of this
// process. It is not handed on to children.
func Inherited(fd int) (*Conn, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "control")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("descriptor %d is not a Unix socket", fd)
	}
	return New(u), nil
}

// Pair makes a connection: ours, and the file to give to a child process.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	ours, err := Inherited(fds[0])
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Close ends the connection; the other side reads io.EOF.
func (c *Conn) Close() error { return c.unix.Close() }

// Send writes v as JSON. The files are duplicated into the other process and
// stay open here.
func (c *Conn) Send(v any, fds ...int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("message %T: %w", v, err)
	}
	if len(body) > maxMessage || len(fds) > maxFiles {
		return fmt.Errorf("message %T: %d bytes and %d files are more than %d and %d", v, len(body), len(fds), maxMessage, maxFiles)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The rights travel with the length, whose 4 bytes the receiver reads alone.
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	if _, _, err := c.unix.WriteMsgUnix(head, rights, nil); err != nil {
		return err
	}
	_, err = c.unix.Write(body)
	return err
}

// Receive reads the next message into v, a pointer. The descriptors are closed
// on exec and belong to the caller. Errors: io.EOF when the other side is gone.
func (c *Conn) Receive(v any) ([]int, error) {
	size, fds, err := c.head()
	if err != nil {
		return nil, err
	}
	body := make([]byte, size)
	if _, err = io.ReadFull(c.unix, body); err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		CloseAll(fds)
		return nil, ended(err)
	}
	return fds, nil
}

func (c *Conn) head() (size uint32, fds []int, err error) {
	head, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := c.unix.ReadMsgUnix(head, oob)
	if err != nil {
		return 0, nil, ended(err)
	}
	if fds, err = rights(oob[:oobn]); err != nil {
		return 0, nil, err
	}
	if n == 0 {
		return 0, nil, io.EOF
	}
	if _, err = io.ReadFull(c.unix, head[n:]); err != nil {
		CloseAll(fds)
		return 0, nil, ended(err)
	}
	if size = binary.BigEndian.Uint32(head); size > maxMessage {
		CloseAll(fds)
		return 0, nil, fmt.Errorf("message of %d bytes: more than %d", size, maxMessage)
	}
	return size, fds, nil
}

// ended makes one error of the ways in which a peer can be gone.
func ended(err error) error {
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

func rights(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			CloseAll(fds)
			return nil, fmt.Errorf("file descriptors: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// CloseAll closes descriptors that Receive gave.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// FD is the descriptor of f, without the change to blocking mode that
// os.File.Fd makes: its mode is shared with every process that has it open.
// It is good as long as f is open.
func FD(f syscall.Conn) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(n uintptr) { fd = int(n) })
	return fd, err
}
