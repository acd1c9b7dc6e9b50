package enroll

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signer is a CA of a test.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newSigner is a CA that by has signed; nil: a root.
func newSigner(t testing.TB, name string, by *signer) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out := &signer{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	if by == nil {
		by = &signer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err == nil {
		out.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// list is a list of the signer, of these serial numbers.
func (s *signer) list(t testing.TB, from, until time.Time, serials ...*big.Int) string {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: until}
	for _, n := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: from})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, s.cert, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// A proxy is given lists only where nobody is cut off by a list that is missing or
// old. Source: OpenSSL, X509_verify_cert: with X509_V_FLAG_CRL_CHECK a certificate
// whose issuer has no list in force is refused.
func TestWhichListsAreUsed(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	begin, end := now.Add(-time.Hour), now.Add(time.Hour)
	root := newSigner(t, "root", nil)
	middle, other := newSigner(t, "middle", root), newSigner(t, "other root", nil)
	leaf := newSigner(t, "leaf", middle).cert
	chain := []*x509.Certificate{leaf, middle.cert}
	ofMiddle, ofRoot := middle.list(t, begin, end, leaf.SerialNumber), root.list(t, begin, end, middle.cert.SerialNumber)
	for name, c := range map[string]struct {
		text         string
		roots        []*x509.Certificate
		used         int // lists
		whole, fault bool
	}{
		"none":                           {"", []*x509.Certificate{root.cert}, 0, false, false},
		"of the signer":                  {ofMiddle, []*x509.Certificate{root.cert}, 1, false, false},
		"of all":                         {ofMiddle + ofRoot, []*x509.Certificate{root.cert}, 2, true, false},
		"not of the signer":              {ofRoot, []*x509.Certificate{root.cert}, 0, false, true},
		"signer's at its end":            {middle.list(t, begin, now), []*x509.Certificate{root.cert}, 0, false, true},
		"signer's not begun":             {middle.list(t, end, end.Add(time.Hour)), []*x509.Certificate{root.cert}, 0, false, true},
		"root's at its end":              {ofMiddle + root.list(t, begin, now), []*x509.Certificate{root.cert}, 1, false, true},
		"another root trusted":           {ofMiddle + ofRoot, []*x509.Certificate{root.cert, other.cert}, 0, false, true},
		"another root, with a list":      {ofMiddle + ofRoot + other.list(t, begin, end), []*x509.Certificate{root.cert, other.cert}, 3, true, false},
		"another root, its list ended":   {ofMiddle + other.list(t, begin, now), []*x509.Certificate{root.cert, other.cert}, 0, false, true},
		"old and new list of the signer": {middle.list(t, begin, now) + ofMiddle, []*x509.Certificate{root.cert}, 1, false, true},
	} {
		all, err := ParseCRLs([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		got, again, err := useLists(all, chain, c.roots, now)
		if n := strings.Count(string(got.PEM), "BEGIN X509 CRL"); n != c.used || len(got.lists) != c.used && c.used > 0 || n > 0 && got.Chain != c.whole || (err != nil) != c.fault {
			t.Errorf("%s: %d lists, whole chain %v, %v", name, n, got.Chain, err)
		}
		if !again.After(now) || again.After(now.Add(time.Hour)) {
			t.Errorf("%s: looks again at %v", name, again)
		}
		if c.used == 0 {
			continue
		}
		if got.Check(chain) == nil {
			t.Errorf("%s: a revoked leaf passes", name)
		}
		if err := got.Check([]*x509.Certificate{newSigner(t, "leaf", middle).cert, middle.cert}); (err != nil) != c.whole {
			t.Errorf("%s: below a revoked CA: %v", name, err)
		}
	}
}

// What a CA publishes is signed by it or by a root; the rest is told.
func TestListsOfOthersAreLeftOut(t *testing.T) {
	now := time.Now()
	root, stranger := newSigner(t, "root", nil), newSigner(t, "root", nil) // of the same name
	mine, theirs := root.list(t, now.Add(-time.Hour), now.Add(time.Hour)), stranger.list(t, now.Add(-time.Hour), now.Add(time.Hour))
	own := []*x509.Certificate{root.cert}
	good, told, err := CheckLists([]byte(theirs+mine), own, own, now)
	if err != nil || string(good) != mine || len(told) != 2 || told[0].Fault == "" || told[1].Fault != "" {
		t.Errorf("published %q, told %+v, %v", good, told, err)
	}
	if fault := ListsFault(good, own, own, now); fault != "" {
		t.Error(fault)
	}
	if fault := ListsFault([]byte(root.list(t, now.Add(-2*time.Hour), now.Add(-time.Hour))), own, own, now); !strings.Contains(fault, "ended") || !strings.Contains(fault, "none of it is used") {
		t.Errorf("an old list: %q", fault)
	}
	for _, text := range []string{"x", mine + "x", strings.ReplaceAll(mine, "X509 CRL", "CERTIFICATE"), mine[:80] + mine[100:], strings.Repeat("x", MaxCRL+1)} {
		if _, _, err := CheckLists([]byte(text), own, own, now); err == nil {
			t.Errorf("%.60q is taken", text)
		}
	}
}

func FuzzParseCRLs(f *testing.F) {
	root := newSigner(f, "root", nil)
	f.Add([]byte(root.list(f, time.Now(), time.Now().Add(time.Hour), big.NewInt(7))))
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ParseCRLs(text)
		if err != nil {
			return
		}
		chain := []*x509.Certificate{root.cert}
		got, _, _ := useLists(all, chain, chain, time.Now())
		_ = got.Check(chain)
		_, _, _ = CheckLists(text, chain, chain, time.Now())
	})
}

// A list ends also while the file that it came from cannot be read any more.
func TestListsEndThoughTheFileIsBad(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	root := newSigner(t, "root", nil)
	leaf := newSigner(t, "leaf", root).cert
	file := filepath.Join(t.TempDir(), CRLFile)
	r := &Roots{file: filepath.Join(filepath.Dir(file), "root-cert.pem"), own: []*x509.Certificate{leaf}, certs: []*x509.Certificate{root.cert}}
	for _, c := range []struct {
		text     string
		at       time.Time
		used     bool
		badWords string
	}{
		{root.list(t, now.Add(-time.Hour), now.Add(time.Hour), leaf.SerialNumber), now, true, ""},
		{"garbage", now.Add(2 * time.Minute), true, "want PEM blocks"},
		{"garbage", now.Add(2 * time.Hour), false, "want PEM blocks"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.reviewLists(c.at)
		if used := len(r.Revoked().PEM) > 0; used != c.used || !strings.Contains(r.listsFault(), c.badWords) {
			t.Errorf("%v: used %v, fault %q", c.at.Sub(now), used, r.listsFault())
		}
	}
}
