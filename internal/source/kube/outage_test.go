package kube_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
)

// cable is a way to the API server that can be cut.
type cable struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	cut      bool
	open     map[net.Conn]bool
}

func newCable(t *testing.T, s server) *cable {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: lis, target: strings.TrimPrefix(s.RESTConfig().Host, "https://"), open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = lis.Close(); c.set(true) })
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			go c.carry(conn)
		}
	}()
	return c
}

func (c *cable) address() string { return c.listener.Addr().String() }

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		for conn := range c.open {
			_ = conn.Close()
		}
		clear(c.open)
	}
}

// carry copies both ways while the cable is whole.
func (c *cable) carry(client net.Conn) {
	defer func() { _ = client.Close() }()
	c.mu.Lock()
	if c.cut {
		c.mu.Unlock()
		return
	}
	srv, err := net.Dial("tcp", c.target)
	if err != nil {
		c.mu.Unlock()
		return
	}
	defer func() { _ = srv.Close() }()
	c.open[client], c.open[srv] = true, true
	c.mu.Unlock()
	go func() { _, _ = io.Copy(srv, client); _ = srv.Close() }()
	_, _ = io.Copy(client, srv)
}

func TestAPIServerKilledAndBack(t *testing.T) {
	s := newServer(t)
	s.add(service("stays", 80) + service("changes", 80) + service("goes", 80) + route("shop", "stays"))
	wire := newCable(t, s)
	w := watch(t, kubeOptions(through(s.RESTConfig(), wire.address())))
	before := w.first()
	// While nobody can reach it, the server changes, and forgets its history:
	// what the source missed can be learnt from a whole list only.
	wire.set(true)
	s.remove(service("goes", 80))
	s.apply(service("changes", 81) + service("comes", 80))
	defer s.remove(service("comes", 80))
	s.restart()
	if w.Waiting() != "" {
		t.Errorf("a source that has its first state waits for nothing, but says %q", w.Waiting())
	}
	select {
	case st := <-w.states:
		t.Errorf("without an API server a state was published: %d services, findings %v", st.Set.Of(config.Service).Len(), st.Findings)
	default:
	}
	wire.set(false)
	after := w.await("all that was missed", func(st source.State) bool {
		return has(config.Service, "shop/comes")(st) && lacks(config.Service, "shop/goes")(st) && get(st, config.Service, "shop/changes") != get(before, config.Service, "shop/changes")
	})
	for _, k := range []config.Kind{config.Service, config.VirtualService} {
		if get(before, k, "shop/stays") != get(after, k, "shop/stays") {
			t.Errorf("an equal %s was made anew", k)
		}
	}
	// Kinds without a change keep their tables, so that nothing downstream runs.
	for _, k := range []config.Kind{config.VirtualService, config.Namespace, config.EndpointSlice} {
		if before.Set.Of(k) != after.Set.Of(k) {
			t.Errorf("the table of %s was made anew", k)
		}
	}
}

func TestAPIServerAwayAtTheStart(t *testing.T) {
	s := newServer(t)
	s.add(service("a", 80))
	if err := s.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	w := watch(t, s.options())
	for w.Waiting() == "" || !strings.Contains(w.Waiting(), "connection refused") {
		if t.Context().Err() != nil {
			t.Fatal("the test ended")
		}
	}
	if text := w.Waiting(); !strings.Contains(text, "Service") || !strings.Contains(text, s.RESTConfig().Host) {
		t.Errorf("it waits for: %s", text)
	}
	if err := s.StartAPIServer(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.await("the first state", has(config.Service, "shop/a"))
	if w.Waiting() != "" {
		t.Errorf("it waits for: %s", w.Waiting())
	}
}

func (s server) restart() {
	s.t.Helper()
	if err := s.KillAPIServer(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.StartAPIServer(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}
