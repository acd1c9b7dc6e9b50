//go:build stepcas

package issue

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/test/plugca"
	"github.com/weftmesh/weft/test/stepca"
)

// options are those of a CA that has cas sign as parts say.
func options(t *testing.T, parts map[string][]byte, cas []byte) Options {
	t.Helper()
	return Options{Chain: stepca.Certificates(t, parts["ca-cert.pem"]), Roots: stepca.Certificates(t, parts["root-cert.pem"]), CAS: cas}
}

// TestStepCA: a step-ca signs what the CA has checked, and what it answers is
// checked like what comes from anybody.
func TestStepCA(t *testing.T) {
	parts := plugca.New(t, plugca.EC)
	server := stepca.Start(t, parts)
	issuer, err := New(t.Context(), options(t, parts, server.Words(stepca.Password)))
	if err != nil {
		t.Fatal(err)
	}
	wish := Request{Caller: caller, CSR: goodCSR(t), TTL: 30 * time.Minute}
	got, err := issuer.Issue(wish)
	if err != nil {
		t.Fatal(err)
	}
	roots, above := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(parts["root-cert.pem"])
	above.AppendCertsFromPEM([]byte(strings.Join(got.Chain[1:], "")))
	if _, err := got.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if len(got.Leaf.URIs) != 1 || got.Leaf.URIs[0].String() != caller.ID.String() {
		t.Errorf("it names %v", got.Leaf.URIs)
	}
	if left := time.Until(got.Leaf.NotAfter); left < 29*time.Minute || left > 31*time.Minute {
		t.Errorf("it is good for %s", left)
	}
	t.Run("shorter than its provisioner allows", func(t *testing.T) {
		short := wish
		short.TTL = 2 * time.Minute
		_, err := issuer.Issue(short)
		refusedBecause(t, err, refusal.Backend, "less than the authorized minimum")
	})
	t.Run("another certificate signs than ours says", func(t *testing.T) {
		stale, err := New(t.Context(), options(t, plugca.New(t, plugca.EC), server.Words(stepca.Password)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = stale.Issue(wish)
		refusedBecause(t, err, refusal.BadLeaf, "")
	})
	t.Run("wrong password", func(t *testing.T) {
		if _, err := New(t.Context(), options(t, parts, server.Words("guess"))); err == nil || Away(err) || strings.Contains(err.Error(), "guess") {
			t.Errorf("it starts, or says the password: %v", err)
		}
	})
	t.Run("it is away", func(t *testing.T) {
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		_, err := issuer.Issue(wish)
		refusedBecause(t, err, refusal.Backend, "")
		if !Away(err) {
			t.Errorf("not taken for away: %v", err)
		}
		if _, err := New(t.Context(), options(t, parts, server.Words(stepca.Password))); !Away(err) {
			t.Errorf("at the start: %v", err)
		}
	})
}

func refusedBecause(t *testing.T, err error, want refusal.Reason, words string) {
	t.Helper()
	var refused *refusal.Error
	if !errors.As(err, &refused) || refused.Reason != want || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %s with %q", err, want, words)
	}
}
