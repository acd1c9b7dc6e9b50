package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/local/wire"
)

// defaultStopTimeout is above the usual grace of a pod, 30 s.
const defaultStopTimeout = 60 * time.Second

var meshName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Run runs a mesh until ctx is done or its Controllers return, and returns when
// nothing of it is left. Errors: a name already in use, no rights (with the
// cause and what to do), and what the Controllers returned.
func Run(ctx context.Context, o Options) error {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if !meshName.MatchString(o.Name) {
		return fmt.Errorf("local mesh: name %q: use lower case letters, digits and '-', at most 63", o.Name)
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = defaultStopTimeout
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &supervisor{options: o, mode: chooseMode(), forker: newForker(), ended: make(chan error, 1), silent: make(chan struct{})}
	if err := s.start(); err != nil {
		return s.explain(ctx, err)
	}
	return s.wait(ctx)
}

// supervisor is the one process of a mesh that stays in the host's namespaces.
type supervisor struct {
	options Options
	mode    Mode
	forker  forker
	conn    *wire.Conn
	cmd     *exec.Cmd
	ended   chan error    // what the controllers returned
	silent  chan struct{} // closed when all that meshd said was read
}

// start opens the API socket and starts meshd.
func (s *supervisor) start() error {
	api, err := listenAPI(s.options.Name)
	if err != nil {
		return err
	}
	defer api.Close()
	conn, theirs, err := wire.Pair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	s.conn = conn
	s.cmd = exec.Command("/proc/self/exe", meshArg)
	s.cmd.Args[0] = "weft-meshd " + s.options.Name
	s.cmd.Stdout, s.cmd.Stderr = os.Stdout, os.Stderr
	s.cmd.ExtraFiles = []*os.File{theirs, api}
	s.cmd.SysProcAttr = s.mode.attributes()
	if err := s.forker.start(s.cmd); err != nil {
		return &setupError{fmt.Sprintf("start meshd: %v", err)}
	}
	go s.receive()
	first, err := s.setup()
	if err == nil {
		err = s.conn.Send(order{Setup: first})
	}
	if err != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	return err
}

// attributes start a child that dies with the supervisor, in namespaces of a mesh.
func (m Mode) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: syscall.SIGKILL, // Ctrl-C reaches the supervisor only
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if m == Rootless {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// wait passes the end of ctx on to meshd, and waits for meshd's end.
func (s *supervisor) wait(ctx context.Context) error {
	exited := make(chan error, 1)
	go func() { exited <- s.cmd.Wait() }()
	stop := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case err := <-exited:
			<-s.silent
			s.conn.Close()
			return s.verdict(ctx, err)
		case <-stop:
			stop = nil
			_ = s.conn.Send(order{Stop: true}) // if it is gone, exited tells
			late = time.After(s.options.StopTimeout)
		case <-late:
			s.options.Log.Warn("mesh did not stop in time; killing it", "mesh", s.options.Name, "timeout", s.options.StopTimeout)
			_ = s.cmd.Process.Kill()
		}
	}
}

// verdict makes one error of how meshd exited and what the controllers said.
func (s *supervisor) verdict(ctx context.Context, exit error) error {
	select {
	case err := <-s.ended:
		var setup *setupError
		if errors.As(err, &setup) {
			return s.explain(ctx, err)
		}
		return err
	default:
	}
	if exit == nil {
		exit = errors.New("exited without a reason")
	}
	return fmt.Errorf("local mesh %q: meshd: %w", s.options.Name, exit)
}

// setupError is one that happened before the controllers ran.
type setupError struct{ text string }

func (e *setupError) Error() string { return e.text }

// receive serves meshd's requests until it is gone.
func (s *supervisor) receive() {
	defer close(s.silent)
	for {
		var r request
		fds, err := s.conn.Receive(&r)
		if err != nil {
			return
		}
		wire.CloseAll(fds)
		switch {
		case r.Listen != "":
			go s.listen(r)
		case r.Ended:
			s.ended <- r.error()
		}
	}
}

func (r request) error() error {
	switch {
	case r.Error == "":
		return nil
	case r.InSetup:
		return &setupError{r.Error}
	}
	return errors.New(r.Error)
}

// listen opens a listener here, in the host's network, and hands it down.
func (s *supervisor) listen(r request) {
	answer := order{Re: r.ID}
	l, err := net.Listen("tcp", r.Listen)
	if err != nil {
		answer.Error = listenError(r.Listen, err).Error()
		_ = s.conn.Send(answer) // if meshd is gone, nobody waits for it
		return
	}
	defer l.Close()
	fd, err := wire.FD(l.(*net.TCPListener))
	if err != nil {
		answer.Error = err.Error()
		_ = s.conn.Send(answer)
		return
	}
	_ = s.conn.Send(answer, fd)
}
