package issue

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What cannot sign is refused before anybody asks for a certificate.
func TestCASWords(t *testing.T) {
	cert, _ := root(t, time.Hour)
	for text, want := range map[string]string{
		``:                     "EOF",
		`{"kind": "stepcas"}`:  `unknown field "kind"`,
		`{"type": "softcas"}`:  "ca-key.pem",
		`{}`:                   "ca-key.pem",
		`{"type": "vaultcas"}`: "not built into this CA",
		`{"type": "stepcas", "certificateIssuer": {"type": "JWK", "provisioner": "weft"}}`: "certificateIssuer.password",
	} {
		if _, err := New(t.Context(), Options{Chain: []*x509.Certificate{cert}, Roots: []*x509.Certificate{cert}, CAS: []byte(text)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestEncryptedKeyWantsItsPassword: nobody is asked for it at a terminal; what is
// missing is said, and a key that is not encrypted needs none.
func TestEncryptedKeyWantsItsPassword(t *testing.T) {
	cert, _ := root(t, time.Hour)
	for name, c := range map[string]struct{ key, password, want string }{
		"PKCS #8":           {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "", "is encrypted: add certificateIssuer.password"},
		"OpenSSL":           {"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n", "", "is encrypted: add certificateIssuer.password"},
		"after a parameter": {"-----BEGIN EC PARAMETERS-----\nAAAA\n-----END EC PARAMETERS-----\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "", "is encrypted"},
		"JWE":               {"eyJhbGciOiJQQkVTMi1IUzI1NitBMTI4S1cifQ.a.b.c.d", "", "is encrypted"},
		"JWE as JSON":       {`{"protected": "e30", "ciphertext": "AA"}`, "", "is encrypted"},
		"with its password": {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "secret", ""},
		"not encrypted":     {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(path, []byte(c.key), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"x5c", "JWK"} {
				words := fmt.Appendf(nil, `{"type": "stepcas", "certificateIssuer": {"type": %q, "provisioner": "weft", "crt": %q, "key": %[2]q, "password": %[3]q}}`, kind, path, c.password)
				_, err := readCAS(words)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path)) {
					t.Errorf("%s: %v, want %q", kind, err, c.want)
				}
				if _, err := New(t.Context(), Options{Chain: []*x509.Certificate{cert}, Roots: []*x509.Certificate{cert}, CAS: words}); err == nil || c.password != "" && strings.Contains(err.Error(), c.password) {
					t.Errorf("%s: it starts, or says the password: %v", kind, err)
				}
			}
		})
	}
}

// TestNoAnswer: a CA that takes calls and never answers holds nobody for long, and
// not more than its turns.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, hung := make(chan struct{}, 2), make(chan struct{})
		var calls atomic.Int32
		hang := func() (int, error) { calls.Add(1); <-hung; return 1, nil }
		for range 5 {
			began := time.Now()
			if _, err := within(turns, hang); !Away(err) || time.Since(began) > patience {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls wait, want 2", n)
		}
		close(hung)
		synctest.Wait()
		if got, err := within(turns, func() (int, error) { return 2, nil }); got != 2 || err != nil {
			t.Errorf("afterwards %d, %v", got, err)
		}
	})
}
