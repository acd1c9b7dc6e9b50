package ca

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/fair"
)

// crowdTime bounds a call of the crowd, on a machine that has much else to do.
const crowdTime = 8 * time.Minute

// namespaces is how many there are beside the greedy one.
const namespaces = 49

// gate is an authenticator that lets nobody through before it is opened, and
// keeps in which order namespaces were served.
type gate struct {
	identity.Authenticator
	open chan struct{}

	mu     sync.Mutex
	served []string
}

func (g *gate) Authenticate(ctx context.Context, token identity.Token) (identity.Caller, error) {
	<-g.open
	caller, err := g.Authenticator.Authenticate(ctx, token)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.served = append(g.served, caller.Namespace())
	return caller, err
}

// tokenOf is that of a pod of NAMESPACE/reviews.
func (m *mesh) tokenOf(namespace string, pod int) string {
	now := time.Now()
	return m.token(jwt.MapClaims{
		"iss": "weft-local", "aud": []string{"istio-ca"}, "sub": "system:serviceaccount:" + namespace + ":reviews",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": namespace, "pod": map[string]any{"name": fmt.Sprint("reviews-", pod), "uid": fmt.Sprint(namespace, "-", pod)},
			"serviceaccount": map[string]any{"name": "reviews", "uid": "u"},
		},
		"weft.mesh": map[string]any{"workload": "reviews", "app": "reviews", "version": "v1"},
	})
}

// from dials from an address of this machine's loopback.
func from(address string) func(context.Context, string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return func(ctx context.Context, to string) (net.Conn, error) { return d.DialContext(ctx, "tcp", to) }
}

// asker is a pod that asks.
type asker struct {
	namespace, csr, token string
	conn                  *grpc.ClientConn
}

func (a asker) ask(ctx context.Context) (metadata.MD, error) {
	ctx, cancel := context.WithTimeout(ctx, crowdTime)
	defer cancel()
	var trailer metadata.MD
	_, err := securityapi.NewIstioCertificateServiceClient(a.conn).CreateCertificate(
		metadata.AppendToOutgoingContext(ctx, bearer(a.token)...), &securityapi.IstioCertificateRequest{Csr: a.csr}, grpc.Trailer(&trailer), grpc.WaitForReady(true)) // a handshake may be late
	return trailer, err
}

// askers are count pods of a namespace, as many on a connection as the CA lets.
func (m *mesh) askers(r *running, namespace string, count int, address func(i int) string) (out []asker) {
	m.t.Helper()
	roots, err := enroll.RootsFile(m.path("root.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	csr := request(m.t, "/ns/"+namespace+"/sa/reviews")
	var conn *grpc.ClientConn
	for i := range count {
		if i%maxStreams == 0 {
			conn, err = grpc.NewClient("passthrough:///"+r.addr, grpc.WithContextDialer(from(address(i))),
				grpc.WithTransportCredentials(credentials.NewTLS(enroll.ClientTLS(nil, roots, nil))))
			if err != nil {
				m.t.Fatal(err)
			}
			m.t.Cleanup(func() { _ = conn.Close() })
		}
		out = append(out, asker{namespace, csr, m.tokenOf(namespace, i), conn})
	}
	return out
}

// behindGate runs a CA that serves one call at a time once the gate is open, and
// lets so many wait.
func (m *mesh) behindGate(waits int) (*running, *authority, *gate) {
	m.t.Helper()
	opts, started := m.options(), make(chan struct{})
	opts.Started = func(net.Addr, net.Addr) { close(started) }
	a, err := newAuthority(opts.withDefaults())
	if err != nil {
		m.t.Fatal(err)
	}
	g := &gate{Authenticator: a.proof, open: make(chan struct{})}
	a.proof, a.turns = g, fair.NewTurns(1, waits)
	ctx, cancel := context.WithCancel(context.Background())
	csr, monitoring, done := listenLoopback(m.t), listenLoopback(m.t), make(chan error, 1)
	go func() { done <- a.run(ctx, csr, monitoring) }()
	m.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
	})
	select {
	case <-started:
	case err := <-done:
		done <- err
		m.t.Fatal(err)
	}
	return &running{addr: csr.Addr().String(), monitoring: monitoring.Addr().String()}, a, g
}

// 5,000 pods of 50 namespaces ask at once, three fifths of them of one namespace.
// More than may wait: only the greedy namespace's are sent away, and told when to
// come again. The others are served in turn with it, not after it.
func TestCrowd(t *testing.T) {
	pods, each := 5000, 41
	if raceEnabled { // which takes many times as long
		pods, each = 1000, 8
	}
	greedy, waits := pods-namespaces*each, pods*4/5
	m := newMesh(t)
	r, a, g := m.behindGate(waits)
	all := m.askers(r, "greedy", greedy, func(i int) string { return fmt.Sprintf("127.2.0.%d", 1+i/800) })
	for n := range namespaces {
		all = append(all, m.askers(r, fmt.Sprintf("modest-%d", n), each, func(int) string { return fmt.Sprintf("127.1.0.%d", 1+n) })...)
	}
	var again sync.Map
	var refused atomic.Int64
	var asking sync.WaitGroup
	for i, one := range all {
		asking.Go(func() {
			trailer, err := one.ask(t.Context())
			if err == nil {
				return
			}
			refused.Add(1)
			again.Store(i, one)
			if status.Code(err) != codes.ResourceExhausted || one.namespace != "greedy" || len(trailer.Get(enroll.Pushback)) != 1 {
				t.Errorf("%s: %v, trailer %v", one.namespace, err, trailer)
			}
		})
	}
	tooMany := pods - waits - 1 // one is at work
	waitFor(t, crowdTime, "all but those who have to come again wait", func() bool { return refused.Load() == int64(tooMany) && a.turns.Waiting() == waits })
	close(g.open)
	asking.Wait()
	checkOrder(t, g.served, each)
	if got := m.refused(r, string(refusal.Crowded)); got != float64(tooMany) {
		t.Errorf("%v counted as refused, want %d", got, tooMany)
	}
	again.Range(func(_, one any) bool {
		_, err := one.(asker).ask(t.Context())
		if err != nil {
			t.Errorf("asked again: %v", err)
		}
		return err == nil
	})
}

// checkOrder wants the greedy namespace to have had no more turns than every
// other when the last of the others had its last one.
func checkOrder(t *testing.T, served []string, each int) {
	t.Helper()
	greedy, modest := 0, 0
	for _, namespace := range served {
		if namespace == "greedy" {
			greedy++
			continue
		}
		if modest++; modest == namespaces*each && greedy > each+2 {
			t.Errorf("the greedy namespace had %d turns while the others waited for their %d", greedy, each)
		}
	}
	if modest != namespaces*each {
		t.Errorf("%d of the others were served, want %d", modest, namespaces*each)
	}
}

// waitFor is within with a deadline of one's own.
func waitFor(t *testing.T, long time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(long); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", long, what)
		}
	}
}
