package store

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	// rootLife is how long a self-made root is valid: Istio's default.
	rootLife = 10 * 365 * 24 * time.Hour
	// rootBackdate covers clocks that are behind ours.
	rootBackdate = time.Hour
	// maxFile bounds what is read from the store, in bytes.
	maxFile = 1 << 20
)

// create makes a P-256 key and a self-signed root. There is no intermediate: its
// key would lie beside the root's, so it would only lengthen each handshake. The
// certificate is written last: a process killed before leaves a directory that
// does not count as complete, and the next one goes on with the key it finds.
func create(dir, trustDomain string) error {
	key, err := findOrMakeKey(dir)
	if err != nil {
		return err
	}
	if err := checkStrayRoot(filepath.Join(dir, rootFile), key); err != nil {
		return err
	}
	cert, err := selfSign(key, trustDomain, time.Now())
	if err != nil {
		return err
	}
	certPEM := encode("CERTIFICATE", cert)
	if err := writeFile(filepath.Join(dir, rootFile), certPEM, 0o600); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, certFile), certPEM, 0o600)
}

func findOrMakeKey(dir string) (crypto.Signer, error) {
	path := filepath.Join(dir, keyFile)
	found, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(path, encode("PRIVATE KEY", der), 0o600)
}

// checkStrayRoot refuses to overwrite a root that somebody else made.
func checkStrayRoot(path string, key crypto.Signer) error {
	_, roots, err := loadCerts(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !isKeyOf(key, roots[0]) {
		err = fmt.Errorf("ca store: %s is there but %s is not: add the signing certificate", path, certFile)
	}
	return err
}

// isKeyOf reports whether key is the private key of cert.
func isKeyOf(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

func selfSign(key crypto.Signer, trustDomain string, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The serial number in the name keeps two roots of one trust domain apart.
		Subject:               pkix.Name{Organization: []string{trustDomain}, CommonName: fmt.Sprintf("Weft root %x", serial.Bytes()[:4])},
		NotBefore:             now.Add(-rootBackdate),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// load reads an authority that is complete and checks that its parts fit.
func load(dir string) (*Authority, error) {
	key, err := loadKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	a := &Authority{signer: key}
	if a.RootPEM, a.Roots, err = loadCerts(filepath.Join(dir, rootFile)); err != nil {
		return nil, err
	}
	if _, a.Chain, err = loadCerts(filepath.Join(dir, certFile)); err != nil {
		return nil, err
	}
	_, above, err := loadCerts(filepath.Join(dir, chainFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	a.Chain = append(a.Chain[:1], above...)
	a.trimChain()
	if err := a.check(time.Now()); err != nil {
		return nil, fmt.Errorf("ca store %s: %w: restore the four files of one CA, or empty the directory to start a new one", dir, err)
	}
	return a, nil
}

func loadKey(path string) (crypto.Signer, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("ca store: %s holds no PEM key", path)
	}
	key, err := parseKey(block)
	if err != nil {
		// The parser's own text may quote the bytes.
		return nil, fmt.Errorf("ca store: %s: want an unencrypted PKCS #8, EC or RSA private key", path)
	}
	return key, nil
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a signing key")
	}
	return signer, nil
}

// readPrivate reads a file that only its owner may read. It asks the open file,
// so that a link cannot be swapped in between.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ca store: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("ca store: %w", err)
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func loadCerts(path string) ([]byte, []*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("ca store: %w", err)
	}
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, nil, fmt.Errorf("ca store: %s: want PEM blocks of type CERTIFICATE only", path)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("ca store: %s: %w", path, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, nil, fmt.Errorf("ca store: %s holds no certificate", path)
	}
	return text, out, nil
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

// check reports whether key, chain and roots belong together at time now.
func (a *Authority) check(now time.Time) error {
	cert := a.Chain[0]
	if !isKeyOf(a.signer, cert) {
		return fmt.Errorf("%s is not the key of %s", keyFile, certFile)
	}
	if !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%s may not sign certificates", certFile)
	}
	roots, above := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range a.Roots {
		roots.AddCert(c)
	}
	for _, c := range a.Chain[1:] {
		above.AddCert(c)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: above, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%s does not chain to %s: %w", certFile, rootFile, err)
	}
	return nil
}
