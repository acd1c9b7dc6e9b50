package enroll

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/internal/spiffe"
)

const (
	// CallTimeout bounds one call to the CA, connection included.
	CallTimeout = 10 * time.Second
	// maxToken is above any Kubernetes token and below the CA's own limit for
	// request headers.
	maxToken = 8 << 10
	// maxReply bounds the chain that a CA may return.
	maxReply = 256 << 10
	// breakerTrip is the number of failures in a row after which the CA is left
	// alone, breakerOpen for how long. It is short, so that a pod is in sync
	// within 5 s of the CA's return.
	breakerTrip = 5
	breakerOpen = 2 * time.Second
)

// Issuer gets one new certificate for a new key. Manager retries it.
type Issuer interface {
	Issue(ctx context.Context) (*Certificate, error)
}

// ClientOptions say which CA to ask, and who asks.
type ClientOptions struct {
	Address   string        // CA as HOST:PORT
	CA        spiffe.ID     // identity that the CA must prove
	Identity  spiffe.ID     // identity that the certificate must hold
	Roots     *Roots        // trusted roots, for the CA's certificate and for ours
	TokenFile string        // bearer token, read again at each call
	TTL       time.Duration // validity to ask for; 0 lets the CA choose
	Metrics   *Metrics      // nil records nothing

	// Dial opens the connection; nil is net.Dialer. An agent sets a socket mark
	// here so that capture leaves the connection alone.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Client asks a CA for certificates over istio.v1.auth.IstioCertificateService.
// Each call makes a key and opens a connection of its own: calls are many hours
// apart, and an idle connection from every pod would cost the CA memory.
type Client struct {
	opts    ClientOptions
	breaker *gobreaker.CircuitBreaker[[]byte]
}

// NewClient checks opts; it does not connect.
func NewClient(opts ClientOptions) (*Client, error) {
	if _, _, err := net.SplitHostPort(opts.Address); err != nil {
		return nil, fmt.Errorf("enroll: CA address %q: want HOST:PORT", opts.Address)
	}
	if err := errors.Join(opts.CA.Validate(), opts.Identity.Validate()); err != nil {
		return nil, err
	}
	if opts.Roots == nil || opts.TokenFile == "" {
		return nil, errors.New("enroll: roots and a token file are needed")
	}
	c := &Client{opts: opts}
	c.breaker = gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
		Name:          "ca",
		Timeout:       breakerOpen,
		ReadyToTrip:   func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerTrip },
		IsSuccessful:  func(err error) bool { return !isOutage(err) },
		OnStateChange: func(_ string, _, to gobreaker.State) { opts.Metrics.breaker(to) },
	})
	opts.Metrics.breaker(gobreaker.StateClosed)
	return c, nil
}

// isOutage reports whether err says that the CA cannot be reached or cannot
// serve. A refusal is an answer: the CA is there, and others may be served.
func isOutage(err error) bool {
	switch status.Code(err) {
	case codes.OK, codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied, codes.ResourceExhausted:
		return false
	default:
		return true
	}
}

// Issue makes a P-256 key and returns a certificate for it that was checked
// against the key, the roots and the identity. While the breaker is open it
// fails at once. Errors never hold the token or the key.
func (c *Client) Issue(ctx context.Context) (*Certificate, error) {
	start := time.Now()
	cert, err := c.issue(ctx)
	c.opts.Metrics.call(time.Since(start), err)
	if err != nil {
		return nil, fmt.Errorf("enroll: certificate from %s: %w", c.opts.Address, err)
	}
	return cert, nil
}

func (c *Client) issue(ctx context.Context) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := NewCSR(key, c.opts.Identity)
	if err != nil {
		return nil, err
	}
	// A root that was replaced a moment ago must not cost a failed handshake.
	if _, err := c.opts.Roots.Reload(); err != nil {
		return nil, err
	}
	token, err := readToken(c.opts.TokenFile)
	if err != nil {
		return nil, err
	}
	chain, err := c.breaker.Execute(func() ([]byte, error) { return c.call(ctx, csr, token) })
	if err != nil {
		return nil, err
	}
	cert, err := NewCertificate(key, chain)
	if err != nil {
		return nil, err
	}
	if err := cert.Verify(c.opts.Roots, c.opts.Identity); err != nil {
		return nil, err
	}
	return cert, nil
}

// call sends one CSR and returns the PEM chain of the answer.
func (c *Client) call(ctx context.Context, csr []byte, token string) ([]byte, error) {
	conn, err := grpc.NewClient("passthrough:///"+c.opts.Address, c.dialOptions()...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	var trailer metadata.MD
	reply, err := securityapi.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx,
		&securityapi.IstioCertificateRequest{Csr: string(csr), ValidityDuration: int64(c.opts.TTL / time.Second)}, grpc.Trailer(&trailer))
	if err != nil {
		return nil, pushedBack(err, trailer)
	}
	return []byte(strings.Join(reply.GetCertChain(), "\n")), nil
}

func (c *Client) dialOptions() []grpc.DialOption {
	tls := ClientTLS(nil, c.opts.Roots, func(id spiffe.ID) error { return wantID(id, c.opts.CA) })
	out := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(tls)),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
	}
	if c.opts.Dial != nil {
		out = append(out, grpc.WithContextDialer(c.opts.Dial))
	}
	return out
}

// NewCSR is a PEM certificate request for key that asks for id and no more.
func NewCSR(key crypto.Signer, id spiffe.ID) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}}, key)
	if err != nil {
		return nil, fmt.Errorf("enroll: certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// readToken reads the bearer token; its text is in no error.
func readToken(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(token) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("token file %s: want one token of 1 to %d printable characters", file, maxToken)
	}
	return token, nil
}
