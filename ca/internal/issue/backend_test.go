package issue

import (
	"crypto/x509"
	"strings"
	"testing"
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
