package issue

import (
	"crypto/x509"
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
