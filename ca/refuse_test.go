package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
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
)

// call sends a raw request, as a hostile client could.
func (m *mesh) call(r *running, csr string, ttl int64, headers ...string) error {
	m.t.Helper()
	roots, err := enroll.RootsFile(m.path("root.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	conn, err := grpc.NewClient(r.addr, grpc.WithTransportCredentials(credentials.NewTLS(enroll.ClientTLS(nil, roots, nil))))
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, headers...)
	_, err = securityapi.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx,
		&securityapi.IstioCertificateRequest{Csr: csr, ValidityDuration: ttl})
	return err
}

func bearer(token string) []string { return []string{"authorization", "Bearer " + token} }

// request is a CSR for the account, signed by a new key.
func request(t testing.TB, account string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: account}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// Each refusal reaches the client with its code, the counter with its reason and
// the log without the token. The full tables are in identity and issue.
func TestRefusals(t *testing.T) {
	m := newMesh(t)
	r := m.start(m.options())
	good, own := m.token(claimsOf()), request(t, "/ns/shop/sa/reviews")
	expired := claimsOf()
	expired["exp"] = time.Now().Add(-time.Hour).Unix()
	hmac, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claimsOf()).SignedString([]byte(readFile(t, m.path("identity.pem"))))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		csr     string
		ttl     int64
		headers []string
		reason  refusal.Reason
		code    codes.Code
	}{
		"no token":         {own, 0, nil, refusal.TokenMissing, codes.Unauthenticated},
		"two tokens":       {own, 0, append(bearer(good), bearer(good)...), refusal.TokenMissing, codes.Unauthenticated},
		"garbage token":    {own, 0, bearer("garbage"), refusal.TokenMalformed, codes.Unauthenticated},
		"big token":        {own, 0, bearer(strings.Repeat("a", 9<<10)), refusal.TokenOversized, codes.Unauthenticated},
		"expired token":    {own, 0, bearer(m.token(expired)), refusal.TokenExpired, codes.Unauthenticated},
		"HMAC token":       {own, 0, bearer(hmac), refusal.TokenAlgorithm, codes.Unauthenticated},
		"foreign identity": {request(t, "/ns/weft-system/sa/weft-pilot"), 0, bearer(good), refusal.CSRName, codes.PermissionDenied},
		"garbage CSR":      {"garbage", 0, bearer(good), refusal.CSRMalformed, codes.InvalidArgument},
		"big CSR":          {strings.Repeat("a", 20<<10), 0, bearer(good), refusal.CSROversized, codes.InvalidArgument},
		"negative life":    {own, -1 << 62, bearer(good), refusal.CSRValidity, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			before := m.refused(r, string(c.reason))
			err := m.call(r, c.csr, c.ttl, c.headers...)
			if status.Code(err) != c.code || !strings.Contains(err.Error(), string(c.reason)) {
				t.Errorf("answer %v, want %v with %s", err, c.code, c.reason)
			}
			if after := m.refused(r, string(c.reason)); after != before+1 {
				t.Errorf("counted %v times", after-before)
			}
			if !strings.Contains(m.logs.String(), "reason="+string(c.reason)) {
				t.Errorf("no log line with the reason in:\n%s", &m.logs)
			}
		})
	}
	for _, secret := range []string{good, hmac, m.token(expired)} {
		if strings.Contains(m.logs.String(), secret) || strings.Contains(m.logs.String(), strings.Split(secret, ".")[2]) {
			t.Error("a token is in the log")
		}
	}
}

// Messages and headers over the limits end before any of our code runs, and a
// peer that does not speak TLS at all is dropped; the CA serves on.
func TestGarbageOnThePort(t *testing.T) {
	m := newMesh(t)
	r := m.start(m.options())
	good := m.token(claimsOf())
	if err := m.call(r, strings.Repeat("a", 1<<20), 0, bearer(good)...); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("message of 1 MB: %v", err)
	}
	if err := m.call(r, "x", 0, bearer(strings.Repeat("a", 64<<10))...); err == nil {
		t.Error("headers of 64 kB were taken")
	}
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x00", 4096), "\x16\x03\x01\xff\xff"} {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(garbage)); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := m.call(r, request(t, "/ns/shop/sa/reviews"), 1<<62, bearer(good)...); err != nil {
		t.Errorf("a good request after the garbage: %v", err)
	}
}

func TestOnePodCannotAskWithoutEnd(t *testing.T) {
	l, now := newLimiter[identity.Pod](rateBurst, rateEvery), time.Now()
	noisy, quiet := identity.Caller{Pod: identity.Pod{UID: "1"}}, identity.Caller{Pod: identity.Pod{UID: "2"}}
	granted := 0
	for range 5 * rateBurst {
		if l.allow(podOf(noisy), now) {
			granted++
		}
	}
	if granted != rateBurst {
		t.Errorf("%d calls granted at once, want %d", granted, rateBurst)
	}
	if !l.allow(podOf(quiet), now) {
		t.Error("another pod has to wait")
	}
	if l.allow(podOf(noisy), now.Add(rateEvery/2)) || !l.allow(podOf(noisy), now.Add(rateEvery)) {
		t.Errorf("the next call should be granted after %v", rateEvery)
	}
	for i := range 2 * rateKeys {
		l.allow(identity.Pod{UID: fmt.Sprint(i)}, now)
	}
	if len(l.full) > rateKeys {
		t.Errorf("%d pods remembered, at most %d", len(l.full), rateKeys)
	}
}

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	m := newMesh(t)
	r := m.start(m.options())
	var open []net.Conn
	for range maxConnsPerPeer + 5 {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	// The connections over the limit are closed by the CA, so reading ends.
	last := open[len(open)-1]
	if err := last.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := last.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the connection over the limit stays open: %v", err)
	}
	if dropped := m.metric(r, "weft_ca_connections_dropped_total"); dropped < 1 {
		t.Errorf("%v connections counted as dropped", dropped)
	}
	for _, c := range open {
		_ = c.Close()
	}
	within(t, "a place is free again", func() bool {
		err := m.call(r, request(t, "/ns/shop/sa/reviews"), 0, bearer(m.token(claimsOf()))...)
		return err == nil
	})
}

// within waits until done holds.
func within(t testing.TB, what string, done func() bool) {
	t.Helper()
	end := time.After(deadline)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-end:
			t.Fatalf("not within %v: %s", deadline, what)
		case <-tick.C:
		}
	}
}

// panics is an authenticator with a fault.
type panics struct{}

func (panics) Authenticate(context.Context, identity.Token) (identity.Caller, error) {
	panic("a fault")
}

func TestPanicEndsTheCallAlone(t *testing.T) {
	m := newMesh(t)
	opts, started := m.options(), make(chan struct{})
	opts.Started = func(net.Addr, net.Addr) { close(started) }
	a, err := newAuthority(opts.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	a.proof = panics{}
	ctx, cancel := context.WithCancel(t.Context())
	csr, monitoring := listenLoopback(t), listenLoopback(t)
	done := make(chan error, 1)
	go func() { done <- a.run(ctx, csr, monitoring) }()
	select {
	case <-started:
	case err := <-done:
		t.Fatal(err)
	}
	r := &running{addr: csr.Addr().String(), monitoring: monitoring.Addr().String()}
	for range 2 {
		if err := m.call(r, "x", 0, bearer("x")...); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "fault") {
			t.Errorf("answer %v", err)
		}
	}
	if got := m.refused(r, string(refusal.Internal)); got != 2 {
		t.Errorf("%v panics counted, want 2", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func listenLoopback(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
