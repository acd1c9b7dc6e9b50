package enroll

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/spiffe"
)

var (
	reviews = spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "reviews"}
	ratings = spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "ratings"}
	theCA   = spiffe.ID{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-ca"}
)

// authority is a small CA of the tests' own. Its methods call t.Fatal on errors
// that only a fault of the test can cause.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root " + rand.Text()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	a.cert = a.signed(template, template, a.key.Public())
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) signed(template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func (a *authority) pem() []byte { return encode(a.cert) }

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func (a *authority) roots() *Roots {
	a.t.Helper()
	r, err := FixedRoots(a.pem())
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// leaf is the template of a certificate for id that lives for life from now.
func leaf(id spiffe.ID, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{OrganizationalUnit: []string{"ns:" + id.Namespace}},
		NotBefore: time.Now().Add(-2 * time.Minute), NotAfter: time.Now().Add(life),
		URIs: []*url.URL{id.URL()}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// issue is a certificate of template with a new key.
func (a *authority) issue(template *x509.Certificate) *Certificate {
	a.t.Helper()
	key := newKey(a.t)
	cert, err := NewCertificate(key, append(encode(a.signed(template, a.cert, key.Public())), a.pem()...))
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// issuer is an Issuer that can be away. It notes when it was asked.
type issuer struct {
	life time.Duration

	mu    sync.Mutex
	from  *authority
	away  bool
	asked []time.Time
}

var errAway = errors.New("the CA is away")

func (i *issuer) Issue(context.Context) (*Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, time.Now())
	if i.away {
		return nil, errAway
	}
	return i.from.issue(leaf(reviews, i.life)), nil
}

func (i *issuer) set(away bool, from *authority) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away, i.from = away, from
}

func (i *issuer) times() []time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}
