package store

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

const (
	// RootLife is how long a self-made root is valid: Istio's default.
	RootLife = 10 * 365 * 24 * time.Hour
	// rootBackdate covers clocks that are behind ours.
	rootBackdate = time.Hour
	// minRSA is the shortest modulus of a signing key, in bits.
	minRSA = 2048
)

// Parts are the texts of one authority, by the names of the files (KeyFile or
// CASFile, CertFile, ChainFile, RootFile). They print as "[redacted]".
type Parts map[string][]byte

// Format prints "[redacted]" whatever the verb.
func (Parts) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// Make makes a P-256 key and a self-signed root for trustDomain.
func Make(trustDomain string) (Parts, error) { return MakeFor(trustDomain, RootLife) }

// MakeFor is Make with another lifetime of the root.
func MakeFor(trustDomain string, life time.Duration) (Parts, error) {
	key, text, err := makeKey()
	if err != nil {
		return nil, err
	}
	cert, err := selfSign(key, trustDomain, life)
	if err != nil {
		return nil, err
	}
	root := encode("CERTIFICATE", cert)
	return Parts{KeyFile: text, CertFile: root, ChainFile: root, RootFile: root}, nil
}

// Parse reads an authority and checks that its parts fit together now. An empty
// or absent ChainFile means that CertFile is signed by a root. Errors name the
// part at fault, and never quote the key.
func Parse(parts Parts) (*Authority, error) {
	a := &Authority{RootPEM: parts[RootFile], parts: parts}
	k, err := parts.kept()
	if err != nil {
		return nil, err
	}
	a.rotation = k.State
	if a.signer, a.cas, err = parts.signs(); err != nil {
		return nil, err
	}
	if a.Roots, err = parseCerts(parts[RootFile]); err != nil {
		return nil, fmt.Errorf("%s: %w", RootFile, err)
	}
	if a.Chain, err = parseCerts(parts[CertFile]); err != nil {
		return nil, fmt.Errorf("%s: %w", CertFile, err)
	}
	var above []*x509.Certificate
	if text := bytes.TrimSpace(parts[ChainFile]); len(text) > 0 {
		if above, err = parseCerts(text); err != nil {
			return nil, fmt.Errorf("%s: %w", ChainFile, err)
		}
	}
	a.Chain = append(a.Chain[:1], above...)
	a.trimChain()
	if err := a.check(time.Now()); err != nil {
		return nil, err
	}
	return a, nil
}

// signs is what makes signatures: a key, or the words for another CA.
func (p Parts) signs() (crypto.Signer, []byte, error) {
	key, cas := p[KeyFile], bytes.TrimSpace(p[CASFile])
	if len(cas) == 0 {
		signer, err := parseKey(key)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", KeyFile, err)
		}
		return signer, nil, nil
	}
	if len(bytes.TrimSpace(key)) > 0 {
		return nil, nil, fmt.Errorf("%s and %s are both there: leave out the one that is not to sign", KeyFile, CASFile)
	}
	return nil, cas, nil
}

func makeKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, encode("PRIVATE KEY", der), nil
}

// isKeyOf reports whether key is the private key of cert.
func isKeyOf(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

func selfSign(key crypto.Signer, trustDomain string, life time.Duration) ([]byte, error) {
	now := time.Now()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The serial number in the name keeps two roots of one trust domain apart.
		Subject:               pkix.Name{Organization: []string{trustDomain}, CommonName: fmt.Sprintf("Weft root %x", serial.Bytes()[:4])},
		NotBefore:             now.Add(-rootBackdate),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// parseKey reads a private key. Its errors are our own: the parser's may quote
// the bytes.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("holds no PEM key")
	}
	key, err := decodeKey(block)
	if err != nil {
		return nil, errors.New("want an unencrypted PKCS #8, EC or RSA private key")
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minRSA {
			return nil, fmt.Errorf("RSA key of %d bits, want at least %d", bits, minRSA)
		}
		return k, nil
	}
	return nil, fmt.Errorf("key of type %T, want EC or RSA, which every proxy can verify", key)
}

func decodeKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	return x509.ParsePKCS8PrivateKey(block.Bytes)
}

func parseCerts(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("want PEM blocks of type CERTIFICATE only")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return out, nil
}

// trimChain leaves out copies of the signing certificate and every root above
// it: peers have the roots.
func (a *Authority) trimChain() {
	kept := a.Chain[:1]
	for _, c := range a.Chain[1:] {
		if !c.Equal(a.Chain[0]) && !bytes.Equal(c.RawIssuer, c.RawSubject) {
			kept = append(kept, c)
		}
	}
	a.Chain = kept
}

// check reports whether key, chain and roots belong together at time now, and
// puts the root of the chain first.
func (a *Authority) check(now time.Time) error {
	cert := a.Chain[0]
	if a.signer != nil && !isKeyOf(a.signer, cert) {
		return fmt.Errorf("%s is not the key of %s", KeyFile, CertFile)
	}
	if !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%s may not sign certificates", CertFile)
	}
	roots, above := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range a.Roots {
		roots.AddCert(c)
	}
	for _, c := range a.Chain[1:] {
		above.AddCert(c)
	}
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: above, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%s does not chain to %s: %w", CertFile, RootFile, err)
	}
	// In a bundle of old and new roots, what signs comes first: chains end with it.
	signs := chains[0][len(chains[0])-1]
	others := slices.DeleteFunc(slices.Clone(a.Roots), signs.Equal)
	a.Roots = append([]*x509.Certificate{signs}, others...)
	return nil
}
