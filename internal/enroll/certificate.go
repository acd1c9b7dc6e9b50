// Package enroll gets a workload its certificate and keeps it fresh.
//
// Inputs: the address of a CA that speaks istio.v1.auth.IstioCertificateService,
// a token file that proves who asks, and a file of trusted roots. Outputs: a
// Manager that always holds the current certificate, key and roots, tells its
// subscribers of each change and makes TLS configurations that follow it. The
// agent and the pilot use it against the CA; the CA uses the Manager alone, to
// renew its own serving certificate.
//
// It lives in every pod, so it may import neither client-go nor smallstep, nor
// any component.
package enroll

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weftmesh/weft/internal/spiffe"
)

// Secret is bytes that no log or error may show: every print verb and slog
// write "[redacted]". The zero value is no secret.
type Secret []byte

const redacted = "[redacted]"

// Format prints "[redacted]" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is "[redacted]", so that JSON and YAML do not show it either.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Certificate is one issued certificate with its key. It is immutable: a
// renewal makes a new one.
type Certificate struct {
	ID       spiffe.ID
	Leaf     *x509.Certificate
	ChainPEM []byte // leaf first, then intermediates; never the root
	KeyPEM   Secret // PKCS #8
	tls      *tls.Certificate
}

// TLS is the certificate as crypto/tls wants it. The caller must not change it.
func (c *Certificate) TLS() *tls.Certificate { return c.tls }

// LogValue names the certificate without its key.
func (c *Certificate) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", c.ID.String()),
		slog.String("serial", c.Leaf.SerialNumber.Text(16)),
		slog.Time("notAfter", c.Leaf.NotAfter))
}

// String is the identity, the serial number and the end of validity.
func (c *Certificate) String() string {
	return fmt.Sprintf("%s serial %x until %s", c.ID, c.Leaf.SerialNumber, c.Leaf.NotAfter.UTC().Format(time.RFC3339))
}

// NewCertificate joins a key and the PEM chain that a CA returned for it: leaf
// first, self-signed certificates are left out. Errors: the chain is not PEM
// certificates, the leaf is for another key or holds no SPIFFE identity.
// Whether the leaf can be trusted is for Verify to say.
func NewCertificate(key crypto.Signer, chainPEM []byte) (*Certificate, error) {
	chain, err := parseChain(chainPEM)
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return nil, errors.New("enroll: the certificate is not for the key that was sent")
	}
	id, err := spiffe.FromCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("enroll: issued certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("enroll: write the key: %w", err)
	}
	out := &Certificate{
		ID: id, Leaf: leaf,
		KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		tls:    &tls.Certificate{PrivateKey: key, Leaf: leaf},
	}
	for _, c := range chain {
		out.ChainPEM = append(out.ChainPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		out.tls.Certificate = append(out.tls.Certificate, c.Raw)
	}
	return out, nil
}

// parseChain returns the leaf and the intermediates of chainPEM.
func parseChain(chainPEM []byte) ([]*x509.Certificate, error) {
	all, err := parsePEM(chainPEM)
	if err != nil {
		return nil, err
	}
	chain := all[:0]
	for _, c := range all {
		if !bytes.Equal(c.RawIssuer, c.RawSubject) {
			chain = append(chain, c)
		}
	}
	if len(chain) == 0 {
		return nil, errors.New("enroll: the chain holds no leaf certificate")
	}
	return chain, nil
}

// parsePEM reads one or more CERTIFICATE blocks and nothing else.
func parsePEM(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("enroll: want PEM blocks of type CERTIFICATE only")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("enroll: certificate %d: %w", len(out)+1, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("enroll: no PEM certificate found")
	}
	return out, nil
}

// Verify reports whether c chains to roots, is valid now for both ends of TLS
// and proves want.
func (c *Certificate) Verify(roots *Roots, want spiffe.ID) error {
	if c.ID != want {
		return fmt.Errorf("enroll: the CA issued %s, want %s", c.ID, want)
	}
	chain, err := parseChain(c.ChainPEM)
	if err != nil {
		return err
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := verifyChain(chain, roots, usage); err != nil {
			return fmt.Errorf("enroll: issued certificate: %w", err)
		}
	}
	return nil
}

// verifyChain verifies chain[0] through the rest of chain to roots.
func verifyChain(chain []*x509.Certificate, roots *Roots, usage x509.ExtKeyUsage) error {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots.Pool(), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}
