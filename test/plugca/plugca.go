// Package plugca makes certificate authorities as a user plugs them in: a root,
// and an intermediate with its key in the form that openssl writes.
//
// Inputs: the kind of key. Outputs: the contents of a Secret cacerts. It imports
// the standard library only.
package plugca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"
	"time"
)

// Kind is the kind of both keys.
type Kind string

// The kinds of keys that a proxy can verify: RSA of 2048 bits in PKCS #1 form,
// and EC on P-384 in SEC 1 form.
const (
	RSA Kind = "RSA"
	EC  Kind = "EC"
)

// New makes a root and an intermediate CA, valid for an hour: ca-cert.pem and
// ca-key.pem of the intermediate, cert-chain.pem of both, root-cert.pem.
func New(t testing.TB, kind Kind) map[string][]byte {
	t.Helper()
	root, rootKey, _ := sign(t, kind, nil, nil)
	between, _, key := sign(t, kind, root, rootKey)
	return map[string][]byte{
		"ca-key.pem": key, "ca-cert.pem": encode(between), "root-cert.pem": encode(root),
		"cert-chain.pem": slices.Concat(encode(between), encode(root)),
	}
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// sign makes a CA that parent signs, or one that signs itself.
func sign(t testing.TB, kind Kind, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer, []byte) {
	t.Helper()
	key, text := newKey(t, kind)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: string(kind) + " intermediate"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		template.Subject.CommonName = string(kind) + " root"
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, text
}

func newKey(t testing.TB, kind Kind) (crypto.Signer, []byte) {
	t.Helper()
	if kind == RSA {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}
