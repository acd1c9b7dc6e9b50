package enroll

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/internal/spiffe"
)

const deadline = 2 * time.Minute

// caServer is a CA on loopback that answers as reply says.
type caServer struct {
	securityapi.UnimplementedIstioCertificateServiceServer
	reply func(public any) ([]string, error)

	mu    sync.Mutex
	token []string
}

func (s *caServer) CreateCertificate(ctx context.Context, req *securityapi.IstioCertificateRequest) (*securityapi.IstioCertificateResponse, error) {
	s.mu.Lock()
	s.token = append(s.token, strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), "|"))
	s.mu.Unlock()
	block, _ := pem.Decode([]byte(req.GetCsr()))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	chain, err := s.reply(csr.PublicKey)
	return &securityapi.IstioCertificateResponse{CertChain: chain}, err
}

// serve listens at address with a certificate for id of a.
func (s *caServer) serve(t *testing.T, a *authority, id spiffe.ID, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{*a.issue(leaf(id, time.Hour)).TLS()}}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	securityapi.RegisterIstioCertificateServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// sign answers with a certificate of template for the key asked for.
func sign(a *authority, template *x509.Certificate) func(any) ([]string, error) {
	return func(public any) ([]string, error) {
		return []string{string(encode(a.signed(template, a.cert, public))), string(a.pem())}, nil
	}
}

// clientOf is a client of shop/reviews that trusts a, with its options changed.
func clientOf(t *testing.T, a *authority, address string, change func(*ClientOptions)) *Client {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	writeRoots(t, token, []byte("first-token\n"))
	opts := ClientOptions{Address: address, CA: theCA, Identity: reviews, Roots: a.roots(), TokenFile: token}
	if change != nil {
		change(&opts)
	}
	c, err := NewClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(c *Client) (*Certificate, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return c.Issue(ctx)
}

func TestClientReadsItsTokenEachTime(t *testing.T) {
	a := newAuthority(t)
	s := &caServer{reply: sign(a, leaf(reviews, time.Hour))}
	c := clientOf(t, a, s.serve(t, a, theCA, "127.0.0.1:0"), nil)
	var serials []*Certificate
	for _, token := range []string{"first-token", "second-token"} {
		writeRoots(t, c.opts.TokenFile, []byte(token+"\n"))
		cert, err := ask(c)
		if err != nil {
			t.Fatal(err)
		}
		serials = append(serials, cert)
	}
	if got := strings.Join(s.token, " "); got != "Bearer first-token Bearer second-token" {
		t.Errorf("the CA saw %q", got)
	}
	if string(serials[0].KeyPEM) == string(serials[1].KeyPEM) {
		t.Error("a key was used twice")
	}
}

// What a CA that was taken over, or is faulty, could answer.
func TestClientRefusesBadAnswers(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	other := newKey(t)
	clientOnly := leaf(reviews, time.Hour)
	clientOnly.ExtKeyUsage = clientOnly.ExtKeyUsage[:1]
	for name, c := range map[string]struct {
		reply func(any) ([]string, error)
		want  string
	}{
		"another identity": {sign(a, leaf(ratings, time.Hour)), "issued spiffe://cluster.local/ns/shop/sa/ratings"},
		"another root":     {sign(stranger, leaf(reviews, time.Hour)), "unknown authority"},
		"expired":          {sign(a, leaf(reviews, -time.Minute)), "expired"},
		"one end only":     {sign(a, clientOnly), "key usage"},
		"another key":      {func(any) ([]string, error) { return sign(a, leaf(reviews, time.Hour))(other.Public()) }, "not for the key"},
		"nothing":          {func(any) ([]string, error) { return nil, nil }, "no PEM certificate"},
		"garbage":          {func(any) ([]string, error) { return []string{"garbage"}, nil }, "PEM"},
		"too much":         {func(any) ([]string, error) { return []string{strings.Repeat("a", maxReply)}, nil }, "larger than max"},
		"a refusal":        {func(any) ([]string, error) { return nil, status.Error(codes.PermissionDenied, "csr_name: no") }, "csr_name"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &caServer{reply: c.reply}
			_, err := ask(clientOf(t, a, s.serve(t, a, theCA, "127.0.0.1:0"), nil))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "first-token") {
				t.Errorf("error %v, want %q and no token", err, c.want)
			}
		})
	}
}

// The token must not go to a server that has not proved to be the CA.
func TestClientDoesNotTrustAnImpostor(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		from *authority
		id   spiffe.ID
	}{"another workload": {a, ratings}, "another root": {stranger, theCA}} {
		s := &caServer{reply: sign(a, leaf(reviews, time.Hour))}
		client := clientOf(t, a, s.serve(t, c.from, c.id, "127.0.0.1:0"), nil)
		if cert, err := ask(client); err == nil {
			t.Errorf("%s: got %s", name, cert)
		}
		if len(s.token) > 0 {
			t.Errorf("%s: it got the token", name)
		}
	}
}

func TestBreaker(t *testing.T) {
	a := newAuthority(t)
	reg := prometheus.NewRegistry()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, a, address, func(o *ClientOptions) { o.Metrics = NewMetrics(reg) })
	for range breakerTrip + 1 {
		if _, err = ask(c); err == nil {
			t.Fatal("a certificate from nobody")
		}
	}
	if !strings.Contains(err.Error(), "circuit breaker is open") {
		t.Errorf("after %d failures: %v", breakerTrip, err)
	}
	if got := valueOf(t, c.opts.Metrics.state); got != 2 {
		t.Errorf("breaker state %v, want 2 (open)", got)
	}
	if got := valueOf(t, c.opts.Metrics.calls.WithLabelValues("BreakerOpen")); got != 1 {
		t.Errorf("%v calls held back, want 1", got)
	}
	s := &caServer{reply: sign(a, leaf(reviews, time.Hour))}
	s.serve(t, a, theCA, address)
	back := time.Now()
	within(t, "a certificate from the CA that is back", func() bool { _, err := ask(c); return err == nil })
	if took := time.Since(back); took > 5*time.Second {
		t.Errorf("took %v, want at most 5s", took)
	}
	if got := valueOf(t, c.opts.Metrics.state); got != 0 {
		t.Errorf("breaker state %v, want 0 (closed)", got)
	}
}

// A refusal is an answer: it must not keep the breaker from the next try.
func TestRefusalsDoNotOpenTheBreaker(t *testing.T) {
	a := newAuthority(t)
	s := &caServer{reply: func(any) ([]string, error) { return nil, status.Error(codes.Unauthenticated, "token_expired") }}
	c := clientOf(t, a, s.serve(t, a, theCA, "127.0.0.1:0"), nil)
	for range 3 * breakerTrip {
		if _, err := ask(c); status.Code(err) != codes.Unauthenticated {
			t.Fatalf("got %v", err)
		}
	}
}

// valueOf is the value of a counter or gauge.
func valueOf(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := metric.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	end := time.After(deadline)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-end:
			t.Fatalf("not within %v: %s", deadline, what)
		case <-tick.C:
		}
	}
}

func TestBadTokenFiles(t *testing.T) {
	a := newAuthority(t)
	c := clientOf(t, a, "127.0.0.1:1", nil)
	for name, text := range map[string]string{
		"empty": " \n", "two lines": "secret\nsecret", "too long": strings.Repeat("s", maxToken+1), "NUL": "secret\x00",
	} {
		writeRoots(t, c.opts.TokenFile, []byte(text))
		if _, err := ask(c); err == nil || !strings.Contains(err.Error(), c.opts.TokenFile) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(c.opts.TokenFile); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(c); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("missing: %v", err)
	}
}

func TestNewClientRefuses(t *testing.T) {
	a := newAuthority(t)
	good := ClientOptions{Address: "ca:15012", CA: theCA, Identity: reviews, Roots: a.roots(), TokenFile: "token"}
	for name, change := range map[string]func(*ClientOptions){
		"address": func(o *ClientOptions) { o.Address = "ca" }, "CA": func(o *ClientOptions) { o.CA = spiffe.ID{} },
		"identity": func(o *ClientOptions) { o.Identity = spiffe.ID{} }, "roots": func(o *ClientOptions) { o.Roots = nil },
		"token": func(o *ClientOptions) { o.TokenFile = "" },
	} {
		opts := good
		change(&opts)
		if _, err := NewClient(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
