package ca

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// deadline bounds every wait of the tests of this package.
const deadline = 2 * time.Minute

// mesh is a folder with all that a CA and its clients share, and the CA's
// supervisor, who signs tokens.
type mesh struct {
	t    testing.TB
	dir  string
	key  *ecdsa.PrivateKey
	logs lockedBuffer
}

func newMesh(t testing.TB) *mesh {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{t: t, dir: t.TempDir(), key: key}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	m.write("identity.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return m
}

func (m *mesh) path(name string) string { return filepath.Join(m.dir, name) }

func (m *mesh) write(name string, data []byte) string {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), data, 0o600); err != nil {
		m.t.Fatal(err)
	}
	return m.path(name)
}

// claimsOf are the claims of a good token for a pod of shop/reviews.
func claimsOf() jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{
		"iss": "weft-local", "aud": []string{"istio-ca"}, "sub": "system:serviceaccount:shop:reviews",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": "shop", "pod": map[string]any{"name": "reviews-v1-0", "uid": "u-1"},
			"serviceaccount": map[string]any{"name": "reviews", "uid": "u-2"},
		},
		"weft.mesh": map[string]any{"workload": "reviews-v1", "app": "reviews", "version": "v1"},
	}
}

var reviews = spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "reviews"}

// token writes a token with claims, signed by the supervisor.
func (m *mesh) token(claims jwt.MapClaims) string {
	m.t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

// running is a CA that runs until the test ends or stop is called.
type running struct {
	addr, monitoring string
	stop             func() error
}

func (m *mesh) options() Options {
	return Options{
		Listen: "127.0.0.1:0", Monitoring: "127.0.0.1:0", Store: m.path("store"), RootOut: m.path("root.pem"),
		LocalIdentityKey: m.path("identity.pem"), Logger: slog.New(slog.NewTextHandler(&m.logs, nil)),
		DNSNames: map[string][]string{"weft-system/weft-ca": {"weft-ca.weft-system.svc"}, "shop/gateway": {"gw.shop.svc"}},
	}
}

func (m *mesh) start(opts Options) *running {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan [2]string, 1), make(chan error, 1)
	opts.Started = func(l, mon net.Addr) { started <- [2]string{l.String(), mon.String()} }
	go func() { ended <- Run(ctx, opts) }()
	r := &running{stop: sync.OnceValue(func() error { cancel(); return <-ended })}
	m.t.Cleanup(func() { _ = r.stop() })
	select {
	case a := <-started:
		r.addr, r.monitoring = a[0], a[1]
	case err := <-ended:
		ended <- err
		m.t.Fatalf("CA did not start: %v", err)
	case <-time.After(deadline):
		m.t.Fatalf("CA did not start in %v:\n%s", deadline, &m.logs)
	}
	return r
}

// client is an enroll.Client of shop/reviews that presents token.
func (m *mesh) client(r *running, token string) *enroll.Client {
	m.t.Helper()
	roots, err := enroll.RootsFile(m.path("root.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := enroll.NewClient(enroll.ClientOptions{
		Address: r.addr, CA: spiffe.ID{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-ca"},
		Identity: reviews, Roots: roots, TokenFile: m.write("token", []byte(token)),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// get returns the body of a monitoring page.
func (m *mesh) get(r *running, path string) (int, string) {
	m.t.Helper()
	reply, err := http.Get("http://" + r.monitoring + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return reply.StatusCode, string(body)
}

// metric is the value of one sample, such as `weft_ca_refused_total{reason="rate"}`.
func (m *mesh) metric(r *running, sample string) float64 {
	m.t.Helper()
	_, body := m.get(r, "/metrics")
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(sample) + ` (\S+)$`).FindStringSubmatch(body)
	if found == nil {
		m.t.Fatalf("no sample %s in:\n%s", sample, body)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		m.t.Fatal(err)
	}
	return value
}

func (m *mesh) refused(r *running, reason string) float64 {
	m.t.Helper()
	return m.metric(r, fmt.Sprintf("weft_ca_refused_total{reason=%q}", reason))
}

// lockedBuffer collects logs from many goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
