package enroll

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func held(c *Certificate) CertificateFunc {
	return func() (*tls.Certificate, error) { return c.TLS(), nil }
}

// handshake connects the two configurations and returns each end's error.
func handshake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, b := net.Pipe()
	defer func() { _ = a.Close() }()
	defer func() { _ = b.Close() }()
	served := make(chan error, 1)
	go func() {
		conn := tls.Server(b, server)
		err := conn.HandshakeContext(ctx)
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		served <- err
		_ = b.Close()
	}()
	conn := tls.Client(a, client)
	if clientErr = conn.HandshakeContext(ctx); clientErr == nil {
		// In TLS 1.3 a client learns of a refusal at its first read.
		_, clientErr = conn.Read(make([]byte, 1))
	}
	_ = a.Close()
	return clientErr, <-served
}

func TestMutualTLS(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	day := 24 * time.Hour
	noURI := leaf(reviews, day)
	noURI.URIs, noURI.DNSNames = nil, []string{"reviews"}
	serverOnly := leaf(reviews, day)
	serverOnly.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	anyone, onlyReviews := Authorize(nil), AllowIDs(reviews)
	for name, c := range map[string]struct {
		client CertificateFunc
		allow  Authorize
		want   string // in the server's error; "" for a connection
	}{
		"in the trust domain":     {held(a.issue(leaf(reviews, day))), AllowTrustDomain("cluster.local"), ""},
		"exactly this one":        {held(a.issue(leaf(reviews, day))), onlyReviews, ""},
		"another one":             {held(a.issue(leaf(ratings, day))), onlyReviews, "want [spiffe://cluster.local/ns/shop/sa/reviews]"},
		"of another trust domain": {held(a.issue(leaf(reviews, day))), AllowTrustDomain("other"), "not of trust domain other"},
		"no certificate":          {nil, anyone, "certificate"},
		"another root":            {held(stranger.issue(leaf(reviews, day))), anyone, "unknown authority"},
		"expired":                 {held(a.issue(leaf(reviews, -time.Second))), anyone, "expired"},
		"not for clients":         {held(a.issue(serverOnly)), anyone, "key usage"},
		"without identity":        {raw(a, noURI), anyone, "URI names"},
	} {
		t.Run(name, func(t *testing.T) {
			server := ServerTLS(held(a.issue(leaf(ratings, day))), a.roots(), c.allow)
			clientErr, serverErr := handshake(t, ClientTLS(c.client, a.roots(), AllowIDs(ratings)), server)
			if c.want == "" {
				if clientErr != nil || serverErr != nil {
					t.Errorf("client %v, server %v", clientErr, serverErr)
				}
			} else if serverErr == nil || clientErr == nil || !strings.Contains(serverErr.Error(), c.want) {
				t.Errorf("server %v (client %v), want %q", serverErr, clientErr, c.want)
			}
		})
	}
}

// raw presents a certificate that NewCertificate would not take.
func raw(a *authority, template *x509.Certificate) CertificateFunc {
	key := newKey(a.t)
	cert := a.signed(template, a.cert, key.Public())
	return func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}, nil
	}
}

func TestClientChecksTheServersIdentity(t *testing.T) {
	a := newAuthority(t)
	server := ServerTLS(held(a.issue(leaf(ratings, time.Hour))), a.roots(), nil)
	clientErr, _ := handshake(t, ClientTLS(held(a.issue(leaf(reviews, time.Hour))), a.roots(), AllowIDs(theCA)), server)
	if clientErr == nil || !strings.Contains(clientErr.Error(), "want [spiffe://cluster.local/ns/weft-system/sa/weft-ca]") {
		t.Errorf("client: %v", clientErr)
	}
}

func TestNewCertificateRefuses(t *testing.T) {
	a := newAuthority(t)
	key := newKey(t)
	noURI := leaf(reviews, time.Hour)
	noURI.URIs = nil
	for name, chain := range map[string][]byte{
		"empty":          nil,
		"garbage":        []byte("garbage"),
		"a key":          []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"the root alone": a.pem(),
		"another key":    encode(a.signed(leaf(reviews, time.Hour), a.cert, newKey(t).Public())),
		"no identity":    encode(a.signed(noURI, a.cert, key.Public())),
		"text after":     append(encode(a.signed(leaf(reviews, time.Hour), a.cert, key.Public())), "text"...),
	} {
		if c, err := NewCertificate(key, chain); err == nil {
			t.Errorf("%s: got %s", name, c)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	cert := newAuthority(t).issue(leaf(reviews, time.Hour))
	key := string(cert.KeyPEM)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		for _, v := range []any{cert.KeyPEM, *cert, cert, struct{ C *Certificate }{cert}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, key[90:110]) || strings.Contains(text, fmt.Sprintf("%x", key[90:110])) {
				t.Errorf("%s of %T prints the key", verb, v)
			}
		}
	}
}
