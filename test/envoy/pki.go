package envoy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/simulate"
)

// pki is a certificate authority for one Proxy: its own certificate, those of
// the endpoints and those of clients.
type pki struct {
	key    *ecdsa.PrivateKey
	root   *x509.Certificate
	public *pki // another CA, as the system knows them; nil in itself
	proxy  stdtls.Certificate

	crl []byte // DER; it lists revokedSerial

	mu     sync.Mutex
	leaves map[string]stdtls.Certificate // by SAN, those that are revoked by "revoked SAN"
}

// revokedSerial is that of every certificate that is revoked.
var revokedSerial = big.NewInt(1 << 40)

func newPKI(identity string) (*pki, error) {
	p, err := newCA()
	if err != nil {
		return nil, err
	}
	if p.public, err = newCA(); err != nil {
		return nil, err
	}
	p.proxy, err = p.leaf(identity)
	return p, err
}

func newCA() (*pki, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"test"}}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: template.NotBefore, NextUpdate: template.NotAfter,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: revokedSerial, RevocationTime: template.NotBefore}},
	}, root, key)
	return &pki{key: key, root: root, crl: crl, leaves: map[string]stdtls.Certificate{}}, err
}

// leaf is a certificate for a SAN: a URI when it has a scheme, else a DNS
// name.
func (p *pki) leaf(san string) (stdtls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signed(san, san, big.NewInt(int64(len(p.leaves)+2)))
}

// revokedLeaf is one that the CA has revoked.
func (p *pki) revokedLeaf(san string) (stdtls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signed("revoked "+san, san, revokedSerial)
}

// client is the certificate that a client shows.
func (p *pki) client(san string, of *simulate.TLS) (stdtls.Certificate, error) {
	switch {
	case of.Stranger:
		return p.public.leaf(san)
	case of.Revoked:
		return p.revokedLeaf(san)
	}
	return p.leaf(san)
}

// keyOf is the key of a SAN, the same in every run, so that it can be pinned.
func keyOf(san string) (*ecdsa.PrivateKey, error) {
	seed := sha256.Sum256([]byte("test key of " + san))
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
}

// SPKI is the base64 of the SHA-256 of the key in the certificate that a client
// of this SAN shows; "" where it can show none.
func SPKI(san string) string {
	key, err := keyOf(san)
	if err != nil {
		return ""
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// signed makes a certificate, once for each name; p.mu is held.
func (p *pki) signed(name, san string, serial *big.Int) (stdtls.Certificate, error) {
	if made, ok := p.leaves[name]; ok {
		return made, nil
	}
	key, err := keyOf(san)
	if err != nil {
		return stdtls.Certificate{}, err
	}
	return p.sign(name, san, serial, key)
}

func (p *pki) sign(name, san string, serial *big.Int, key crypto.Signer) (stdtls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if strings.Contains(san, "://") {
		uri, err := url.Parse(san)
		if err != nil {
			return stdtls.Certificate{}, err
		}
		template.URIs = []*url.URL{uri}
	} else {
		template.DNSNames = []string{san}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.root, key.Public(), p.key)
	if err != nil {
		return stdtls.Certificate{}, err
	}
	made := stdtls.Certificate{Certificate: [][]byte{der, p.root.Raw}, PrivateKey: key}
	p.leaves[name] = made
	return made, nil
}

// secret makes what a proxy asks for by name: names of CA bundles as Istio
// has them (ROOTCA, *-cacert) give the root, every other gives the proxy's own
// certificate.
func (p *pki) secret(name string) *tls.Secret {
	if name == "ROOTCA" || strings.HasSuffix(name, "-cacert") {
		context := &tls.CertificateValidationContext{TrustedCa: p.bundle()}
		return &tls.Secret{Name: name, Type: &tls.Secret_ValidationContext{ValidationContext: context}}
	}
	return &tls.Secret{Name: name, Type: &tls.Secret_TlsCertificate{TlsCertificate: pairOf(p.proxy)}}
}

func pairOf(c stdtls.Certificate) *tls.TlsCertificate {
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, pemOf("CERTIFICATE", der)...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(err) // keys made here have a PKCS 8 form
	}
	return &tls.TlsCertificate{CertificateChain: inlineBytes(chain), PrivateKey: inlineBytes(pemOf("PRIVATE KEY", key))}
}

// rsa is a certificate with such a key, in place of a file that is called so.
func (p *pki) rsa() (stdtls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if made, ok := p.leaves[rsaName]; ok {
		return made, nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return stdtls.Certificate{}, err
	}
	return p.sign(rsaName, "rsa.example.com", big.NewInt(1<<41), key)
}

const rsaName = "rsa"

func (p *pki) bundle() *core.DataSource { return inlineBytes(pemOf("CERTIFICATE", p.root.Raw)) }

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func inlineBytes(b []byte) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: b}}
}
