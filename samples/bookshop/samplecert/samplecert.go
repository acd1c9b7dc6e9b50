// Package samplecert makes the certificates of the tls-gateway sample.
//
// Input: a folder. Output: PEM files and a YAML file with two Secrets in it,
// valid for a hundred years and marked as samples: their keys are public, so
// they protect nothing. It imports the standard library alone.
package samplecert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// organization marks each certificate.
const organization = "Weft sample (not a secret)"

// pair is a certificate and its key, as PEM. The key is a sample's, and so is
// not of a type that hides itself.
type pair struct {
	cert, key []byte
}

// Write makes a root, a certificate for each of hosts in one leaf, and a
// client's certificate, and writes to dir: ca.pem, client.pem, client-key.pem
// and secrets.yaml with the Secrets shop-tls (for TLS SIMPLE) and shop-mtls (for
// MUTUAL: with the root that clients are checked against). Files that exist are
// replaced.
func Write(dir string, hosts ...string) error {
	if len(hosts) == 0 {
		return errors.New("no host to make a certificate for; pass --host")
	}
	root, rootKey, err := newRoot()
	if err != nil {
		return fmt.Errorf("make the root: %w", err)
	}
	server, err := newLeaf(root, rootKey, &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      subject(hosts[0]),
		DNSNames:     hosts,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("make the server's certificate: %w", err)
	}
	client, err := newLeaf(root, rootKey, &x509.Certificate{
		SerialNumber: big.NewInt(3),
		Subject:      subject("customer"),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("make the client's certificate: %w", err)
	}
	ca := encode("CERTIFICATE", root.Raw)
	return writeAll(dir, map[string][]byte{
		"ca.pem":         ca,
		"client.pem":     client.cert,
		"client-key.pem": append([]byte("SAMPLE: this key is public and protects nothing. Made by `bookshop certs`.\n"), client.key...),
		"secrets.yaml":   secrets(server, ca),
	})
}

func subject(name string) pkix.Name {
	return pkix.Name{CommonName: name, Organization: []string{organization}}
}

func newRoot() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               subject("sample root"),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := sign(template, template, key, key)
	if err != nil {
		return nil, nil, err
	}
	root, err := x509.ParseCertificate(der)
	return root, key, err
}

func newLeaf(root *x509.Certificate, rootKey *ecdsa.PrivateKey, template *x509.Certificate) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := sign(template, root, key, rootKey)
	if err != nil {
		return pair{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return pair{cert: encode("CERTIFICATE", der), key: encode("PRIVATE KEY", secret)}, nil
}

// sign issues template for key; a hundred years keep the sample from rotting.
func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	template.NotBefore = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	template.NotAfter = template.NotBefore.AddDate(100, 0, 0)
	return x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func secrets(server pair, ca []byte) []byte {
	var out bytes.Buffer
	base := base64.StdEncoding.EncodeToString
	out.WriteString("# SAMPLE: the keys in here are public and protect nothing. Made by `bookshop certs`.\n")
	fmt.Fprintf(&out, `apiVersion: v1
kind: Secret
metadata:
  name: shop-tls
  namespace: weft-system
type: kubernetes.io/tls
data:
  tls.crt: %s
  tls.key: %s
---
apiVersion: v1
kind: Secret
metadata:
  name: shop-mtls
  namespace: weft-system
type: Opaque
data:
  tls.crt: %s
  tls.key: %s
  ca.crt: %s
`, base(server.cert), base(server.key), base(server.cert), base(server.key), base(ca))
	return out.Bytes()
}

func writeAll(dir string, files map[string][]byte) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return fmt.Errorf("write a sample certificate: %w", err)
		}
	}
	return nil
}
