package compile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
)

// certificate gives a self-signed PEM pair for the names.
func certificate(t *testing.T, names ...string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, k, names)
}

func signed(t *testing.T, k crypto.Signer, names []string) (cert, key []byte) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// revocations is a list of revoked certificates in PEM: an empty one.
func revocations(t *testing.T) []byte {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := &x509.Certificate{KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Now().Add(time.Hour)}, issuer, k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func TestSecrets(t *testing.T) {
	cert, key := certificate(t, "a.example.com")
	_, foreign := certificate(t, "a.example.com")
	nameless, itsKey := certificate(t)
	short, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	odd, oddKey := signed(t, short, []string{"a.example.com"})
	for _, tc := range []struct {
		name string
		data map[string][]byte
		live bool
		bad  bool
	}{
		{"tls", map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": cert}, true, false},
		{"generic", map[string][]byte{"cert": cert, "key": key, "cacert": cert}, true, false},
		{"ca", map[string][]byte{"ca.crt": cert}, true, false},
		{"opaque", map[string][]byte{"password": []byte("x")}, false, false},
		{"foreign-key", map[string][]byte{"tls.crt": cert, "tls.key": foreign}, false, true},
		{"no-key", map[string][]byte{"tls.crt": cert}, false, true},
		{"nameless", map[string][]byte{"tls.crt": nameless, "tls.key": itsKey}, false, true},
		{"p-224", map[string][]byte{"tls.crt": odd, "tls.key": oddKey}, false, true},
		{"garbage", map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")}, false, true},
		{"revoked", map[string][]byte{"ca.crt": cert, "ca.crl": revocations(t)}, true, false},
		{"garbage-revoked", map[string][]byte{"ca.crt": cert, "ca.crl": []byte("x")}, false, true},
		{"revoked-alone", map[string][]byte{"tls.crt": cert, "tls.key": key, "crl": revocations(t)}, false, true},
		{"garbage-ca", map[string][]byte{"ca.crt": []byte("x")}, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := Mesh(config.Set{}.With(object(config.Secret, "edge", tc.name, &core.Secret{Data: tc.data})))
			got, live := r.Mesh.Secrets.Get("edge/" + tc.name)
			if live != tc.live || (r.Findings.Len() > 0) != tc.bad {
				t.Errorf("live %v, findings %v", live, list(r))
			}
			if live && strings.Contains(fmt.Sprintf("%v %+v %#v", *got, *got, *got), string(key)) {
				t.Error("the key can be printed")
			}
			if strings.Contains(strings.Join(list(r), " "), "PRIVATE") {
				t.Error("a finding shows the key")
			}
		})
	}
}
