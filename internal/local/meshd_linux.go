package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/local/network"
	"github.com/weftmesh/weft/internal/local/pod"
	"github.com/weftmesh/weft/internal/local/wire"
)

// meshMain is meshd, from its first instruction to its end.
func meshMain(c Controllers) error {
	unix.CloseOnExec(apiFD)
	conn, err := wire.Inherited(controlFD)
	if err != nil {
		return fmt.Errorf("%w: it is started by the supervisor only", err)
	}
	var first order
	if _, err := conn.Receive(&first); err != nil {
		return fmt.Errorf("no setup from the supervisor: %w", err)
	}
	if first.Setup == nil {
		return errors.New("the supervisor's first order is no setup")
	}
	ctx, stop := context.WithCancel(context.Background())
	m := newMesh(first.Setup, conn, stop)
	go m.receive()
	if err := m.setUp(); err != nil {
		_ = conn.Send(request{Ended: true, InSetup: true, Error: err.Error()})
		return nil //nolint:nilerr // reported by the supervisor
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() { <-terminated; stop() }()
	err = c(ctx, m)
	m.close()
	end := request{Ended: true}
	if err != nil {
		end.Error = err.Error()
	}
	_ = conn.Send(end) // a supervisor that is gone needs no answer
	return nil
}

func newMesh(s *setup, conn *wire.Conn, stop func()) *Mesh {
	m := &Mesh{
		setup: s, conn: conn, stop: stop,
		pods: map[string]*pod.Pod{}, answers: map[int]chan answer{},
	}
	m.api = newAPI(m)
	return m
}

// setUp makes mounts, network and API of the mesh.
func (m *Mesh) setUp() error {
	if err := pod.Private(); err != nil {
		return err
	}
	if err := pod.Tmpfs(m.setup.MeshDir, "0755"); err != nil {
		return err
	}
	bridge, err := network.NewBridge()
	if err != nil {
		return err
	}
	m.host = &pod.Host{
		Bridge: bridge, Identity: m.setup.Identity, MeshDir: m.setup.MeshDir,
		RunDir: filepath.Join(m.setup.MeshDir, "weft"), Fork: newForker().start,
	}
	return m.api.serve(apiFD)
}

// receive takes the supervisor's orders. Its end is the end of the mesh: this
// process exits, and the kernel ends every pod with it.
func (m *Mesh) receive() {
	for {
		var o order
		fds, err := m.conn.Receive(&o)
		if err != nil {
			os.Exit(1)
		}
		switch {
		case o.Stop:
			m.stop()
		case o.Re != 0:
			m.answer(o, fds)
		default:
			wire.CloseAll(fds)
		}
	}
}

// answer is what the supervisor said to a request.
type answer struct {
	fds []int
	err error
}

func (m *Mesh) answer(o order, fds []int) {
	m.mu.Lock()
	waiting := m.answers[o.Re]
	delete(m.answers, o.Re)
	m.mu.Unlock()
	a := answer{fds: fds}
	if o.Error != "" {
		a.err = errors.New(o.Error)
	}
	if waiting == nil {
		wire.CloseAll(fds)
		return
	}
	waiting <- a
}

// ask sends a request to the supervisor and waits for its answer.
func (m *Mesh) ask(ctx context.Context, r request) ([]int, error) {
	waiting := make(chan answer, 1)
	m.mu.Lock()
	m.lastID++
	r.ID = m.lastID
	m.answers[r.ID] = waiting
	m.mu.Unlock()
	if err := m.conn.Send(r); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	select {
	case a := <-waiting:
		return a.fds, a.err
	case <-ctx.Done():
		go func() { wire.CloseAll((<-waiting).fds) }()
		return nil, ctx.Err()
	}
}
