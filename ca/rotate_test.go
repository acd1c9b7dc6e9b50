package ca

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// workload is one of a crowd: it serves mutual TLS and calls the others.
type workload struct {
	*enroll.Manager
	addr string
}

// crowd are workloads that hold certificates of one CA and call each other with
// a new connection each time.
type crowd struct {
	*mesh
	id     spiffe.ID // of each
	peers  []*workload
	calls  atomic.Int64
	mu     sync.Mutex
	failed []error
}

func (m *mesh) crowd(r *running, n int) *crowd {
	m.t.Helper()
	c := &crowd{mesh: m, id: reviews}
	for i := range n {
		claims := claimsOf()
		claims["kubernetes.io"].(map[string]any)["pod"] = map[string]any{"name": fmt.Sprintf("reviews-%d", i), "uid": fmt.Sprintf("u-%d", i)}
		c.peers = append(c.peers, c.peer(r, fmt.Sprintf("token-%d", i), m.token(claims)))
	}
	return c
}

func (c *crowd) peer(r *running, file, token string) *workload {
	c.t.Helper()
	roots, err := enroll.RootsFile(c.path("root.pem"))
	if err != nil {
		c.t.Fatal(err)
	}
	client, err := enroll.NewClient(enroll.ClientOptions{
		Address: r.addr, CA: spiffe.ID{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-ca"},
		Identity: reviews, Roots: roots, TokenFile: c.write(file, []byte(token)),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.run(client, roots)
}

// run has a workload live until the test ends.
func (c *crowd) run(client *enroll.Client, roots *enroll.Roots) *workload {
	c.t.Helper()
	p := &workload{Manager: enroll.NewManager(enroll.ManagerOptions{Issuer: client, Roots: roots, Logger: slog.New(slog.DiscardHandler)})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	c.t.Cleanup(func() { cancel(); <-done })
	wait, stop := context.WithTimeout(c.t.Context(), deadline)
	defer stop()
	if _, err := p.Wait(wait); err != nil {
		c.t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", p.ServerTLS(nil))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = l.Close() })
	go serveEcho(l)
	p.addr = l.Addr().String()
	return p
}

// serveEcho answers each connection until it is closed.
func serveEcho(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

// echo says a byte to an address and hears it.
func echo(ctx context.Context, address string, config *tls.Config) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	if _, err = conn.Write([]byte("x")); err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	return conn.(*tls.Conn).ConnectionState(), err
}

// call has workloads call each other until the end, and notes what fails.
func (c *crowd) call(callers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() {
			for ctx.Err() == nil {
				from, to := c.peers[rand.IntN(len(c.peers))], c.peers[rand.IntN(len(c.peers))]
				_, err := echo(ctx, to.addr, from.ClientTLS(c.id))
				c.calls.Add(1)
				if err != nil && ctx.Err() == nil {
					c.mu.Lock()
					c.failed = append(c.failed, err)
					c.mu.Unlock()
				}
			}
		})
	}
	return func() { cancel(); calling.Wait() }
}

func (m *mesh) rotation(r *running) (s RotationStatus) {
	m.t.Helper()
	code, body := m.get(r, "/debug/rotation")
	if code != http.StatusOK {
		m.t.Fatalf("%d: %s", code, body)
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// do gives a command; it returns what the CA says against it.
func (m *mesh) do(r *running, what string) error {
	m.t.Helper()
	reply, err := http.Post("http://"+r.monitoring+"/debug/rotation?do="+what, "", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = reply.Body.Close() }()
	if text, _ := io.ReadAll(reply.Body); reply.StatusCode != http.StatusOK {
		return errors.New(string(text))
	}
	return nil
}

// reach waits until a rotation is in a stage.
func (m *mesh) reach(r *running, stage string) RotationStatus {
	m.t.Helper()
	end := time.After(deadline)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s := m.rotation(r)
		if s.Stage == stage {
			return s
		}
		select {
		case <-end:
			m.t.Fatalf("not in %s: %+v\n%s", stage, s, &m.logs)
		case <-tick.C:
		}
	}
}

func rotating(m *mesh) Options {
	o := m.options()
	o.ReportEvery, o.inFlight = time.Second, 3*time.Second // a machine may be busy
	return o
}

// TestRotation takes a hundred workloads under load from one root to the next,
// while the CA dies on the way.
func TestRotation(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	opts := rotating(m)
	r := m.start(opts)
	opts.Listen, opts.Monitoring = r.addr, r.monitoring // of the next
	c := m.crowd(r, 100)
	first := m.rotation(r).Roots[0].Fingerprint
	// A session of before, and a certificate of a thief.
	sessions := tls.NewLRUClientSessionCache(4)
	thief := c.peers[0].Current().TLS()
	resume := func(config *tls.Config) (bool, error) {
		state, err := echo(t.Context(), c.peers[1].addr, config)
		return state.DidResume, err
	}
	keeps := c.peers[0].ClientTLS(reviews)
	keeps.ClientSessionCache = sessions
	keeps.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return thief, nil }
	if _, err := resume(keeps); err != nil {
		t.Fatal(err)
	}
	if resumed, err := resume(keeps); err != nil || !resumed {
		t.Fatalf("a session is resumed: %v, %v: the test shows nothing without", resumed, err)
	}
	stop := c.call(4)
	if err := m.do(r, "begin"); err != nil {
		t.Fatal(err)
	}
	if err := m.do(r, "begin"); err == nil {
		t.Error("two rotations at once")
	}
	if s := m.rotation(r); s.Stage != "Distribute" || len(s.Roots) != 2 || s.Roots[0].Fingerprint != first {
		t.Errorf("at the start: %+v", s)
	}
	m.reach(r, "Issue")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = m.start(opts)
	if s := m.rotation(r); s.Stage != "Issue" || s.Roots[0].Fingerprint == first {
		t.Errorf("after a crash: %+v", s)
	}
	last := m.reach(r, "Dropped")
	stop()
	for _, err := range c.failed {
		t.Errorf("of %d handshakes: %v", c.calls.Load(), err)
	}
	t.Logf("%d handshakes", c.calls.Load())
	if len(last.Roots) != 1 || last.Roots[0].Fingerprint == first {
		t.Errorf("at the end: %+v", last)
	}
	c.forgot(t, resume, keeps)
	if err := m.do(r, "rollback"); err == nil {
		t.Error("rolled back after the old root's key was deleted")
	}
}

// forgot: a workload that no longer trusts the old root takes neither a session
// that was begun with its certificates nor such a certificate.
func (c *crowd) forgot(t *testing.T, resume func(*tls.Config) (bool, error), keeps *tls.Config) {
	t.Helper()
	end := time.After(deadline)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for len(strings.Split(string(c.peers[1].Roots().PEM()), "BEGIN")) > 2 {
		select {
		case <-end:
			t.Fatal("the old root is still trusted")
		case <-tick.C:
		}
	}
	if resumed, err := resume(keeps); err == nil {
		t.Errorf("a session of the old root: resumed %v, and no error", resumed)
	}
	fresh := keeps.Clone()
	fresh.ClientSessionCache = nil
	if _, err := resume(fresh); err == nil {
		t.Error("a certificate of the old root is taken")
	}
}

// TestRollBackUnderLoad goes back from Issue, by way of a pause.
func TestRollBackUnderLoad(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	r := m.start(rotating(m))
	c := m.crowd(r, 4)
	first := m.rotation(r).Roots[0].Fingerprint
	stop := c.call(2)
	for _, step := range []struct{ do, stage string }{
		{"begin", "Distribute"}, {"pause", "Distribute"}, {"resume", "Issue"}, {"rollback", "Issue"}, {"", "Dropped"},
	} {
		if step.do != "" {
			if err := m.do(r, step.do); err != nil {
				t.Fatalf("%s: %v", step.do, err)
			}
		}
		m.reach(r, step.stage)
	}
	stop()
	for _, err := range c.failed {
		t.Errorf("of %d handshakes: %v", c.calls.Load(), err)
	}
	if s := m.rotation(r); len(s.Roots) != 1 || s.Roots[0].Fingerprint != first || !s.Back {
		t.Errorf("after the way back: %+v", s)
	}
}

// TestWaitsForWhoIsSilent: one that never says what it trusts holds a rotation up
// by name, until it is gone.
func TestWaitsForWhoIsSilent(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	r := m.start(rotating(m))
	if _, err := issueOne(t, m.client(r, m.token(claimsOf()))); err != nil { // asks once, and never reports
		t.Fatal(err)
	}
	if err := m.do(r, "begin"); err != nil {
		t.Fatal(err)
	}
	end := time.After(deadline)
	for s := m.rotation(r); len(s.Waiting) != 1 || s.Waiting[0].Name != "shop/reviews-v1-0" || !s.Listens.IsZero(); s = m.rotation(r) {
		select {
		case <-end:
			t.Fatalf("%+v", s)
		case <-time.After(20 * time.Millisecond):
		}
	}
	reply, err := http.Post("http://"+r.monitoring+"/debug/pods", "application/json", strings.NewReader(`["another"]`))
	if err != nil {
		t.Fatal(err)
	}
	_ = reply.Body.Close()
	m.reach(r, "Dropped")
}

// TestBySchedule: a root near its end gives way by itself, and plugged-in ones
// are left alone.
func TestBySchedule(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	o := rotating(m)
	o.RootTTL, o.RotateBefore = 3*time.Hour, 2*time.Hour
	short, err := store.MakeFor("cluster.local", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(filepath.Join(m.dir, "store"), "cluster.local", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = st.Replace(short); err != nil {
		t.Fatal(err)
	}
	if err = st.Close(); err != nil {
		t.Fatal(err)
	}
	r := m.start(o)
	s := m.reach(r, "Dropped")
	if left := time.Until(s.Roots[0].Expires); left < 2*time.Hour {
		t.Errorf("the new root ends in %v", left)
	}
	if m.metric(r, `weft_ca_rotation_stage{stage="Dropped"}`) != 1 || m.metric(r, "weft_ca_rotation_waiting_proxies") != 0 {
		t.Error("metrics of a rotation that has ended")
	}
}
