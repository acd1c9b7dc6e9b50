package ca

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/enroll"
)

// revoke writes a list of the store's own CA beside its key.
func (m *mesh) revoke(until time.Time, serials ...*big.Int) {
	m.t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(m.path("store"), store.CertFile), filepath.Join(m.path("store"), store.KeyFile))
	if err != nil {
		m.t.Fatal(err)
	}
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: until}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, pair.Leaf, pair.PrivateKey.(crypto.Signer))
	if err != nil {
		m.t.Fatal(err)
	}
	m.replace(filepath.Join("store", store.CRLFile), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// replace writes a file that the CA reads all the while, in one step.
func (m *mesh) replace(name string, data []byte) {
	m.t.Helper()
	if err := os.Rename(m.write(name+".new", data), m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) listStatus(r *running) Lists {
	m.t.Helper()
	var s RotationStatus
	if _, body := m.get(r, "/debug/rotation"); json.Unmarshal([]byte(body), &s) != nil {
		m.t.Fatalf("status: %s", body)
	}
	return s.Revoked
}

// A list beside the key is published beside the roots; what is wrong with one is
// told, and none that is wrong takes the last good one away.
func TestListsArePublished(t *testing.T) {
	m := newMesh(t)
	r := m.start(m.options())
	published := func() string {
		text, err := os.ReadFile(m.path(enroll.CRLFile))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := m.listStatus(r); len(got.Of) > 0 || got.Fault != "" || published() != "" {
		t.Errorf("without a list: %+v", got)
	}
	m.revoke(time.Now().Add(time.Hour), big.NewInt(7), big.NewInt(8))
	within(t, "the list is published", func() bool { return published() != "" })
	good := published()
	if got := m.listStatus(r); len(got.Of) != 1 || got.Of[0].Revoked != 2 || got.Fault != "" {
		t.Errorf("status %+v", got)
	}
	if m.metric(r, "weft_ca_crl_fault") != 0 {
		t.Error("a fault is counted")
	}
	m.replace(enroll.CRLFile, []byte("of another hand"))
	within(t, "the published file is mended", func() bool { return published() == good })
	m.replace(filepath.Join("store", store.CRLFile), []byte("garbage"))
	within(t, "garbage is logged", func() bool { return strings.Contains(m.logs.String(), "want PEM blocks") })
	if got := m.listStatus(r); got.Fault == "" || m.metric(r, "weft_ca_crl_fault") != 1 || published() != good {
		t.Errorf("garbage: %+v, published %q", got, published())
	}
	m.replace(filepath.Join("store", store.CRLFile), nil) // as when it is being written
	within(t, "an empty file is logged", func() bool { return strings.Contains(m.logs.String(), "is empty") })
	if got := m.listStatus(r); got.Fault == "" || m.metric(r, "weft_ca_crl_fault") != 1 || published() != good {
		t.Errorf("an empty file: %+v, published %q", got, published())
	}
	m.revoke(time.Now().Add(-time.Hour), big.NewInt(7))
	within(t, "an old list is told", func() bool { s := m.listStatus(r); return len(s.Of) == 1 && strings.Contains(s.Fault, "ended at") })
	if err := os.Remove(filepath.Join(m.path("store"), store.CRLFile)); err != nil {
		t.Fatal(err)
	}
	within(t, "no list, nothing published", func() bool { return published() == "" })
	if _, err := issueOne(t, m.client(r, m.token(claimsOf()))); err != nil {
		t.Error(err)
	}
}

// TestListsAreReviewedOnce: signatures are checked anew for other lists, by another
// key, and after a minute, and else not.
func TestListsAreReviewedOnce(t *testing.T) {
	m := newMesh(t)
	m.start(m.options())
	now := time.Now()
	m.revoke(now.Add(30 * time.Second))
	text, err := enroll.ReadLists(filepath.Join(m.path("store"), store.CRLFile))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(m.path("store"), store.CertFile), filepath.Join(m.path("store"), store.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	var r reviewed
	signer := &store.Authority{Chain: []*x509.Certificate{pair.Leaf}}
	first := r.of(text, signer, now)
	if len(first.Of) != 1 || first.Fault != "" {
		t.Fatalf("found %+v", first)
	}
	anew := func(text []byte, by *store.Authority, at time.Time) bool {
		before := &r.found.Of[0]
		return &r.of(text, by, at).Of[0] != before
	}
	if anew(bytes.Clone(text), signer, now.Add(listsReview-1)) {
		t.Error("the same lists were checked twice")
	}
	if !anew(text, &store.Authority{Chain: signer.Chain}, now) {
		t.Error("another key has not checked the lists")
	}
	if !anew(append(bytes.Clone(text), text...), signer, now) {
		t.Error("other lists were not checked")
	}
	if r.of(text, signer, now); !anew(text, signer, now.Add(listsReview)) || r.found.Fault == "" {
		t.Errorf("a list that has ended since is told as %+v", r.found)
	}
}
