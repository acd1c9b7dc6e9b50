package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/enroll"
)

func issueOne(t *testing.T, c *enroll.Client) (*enroll.Certificate, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return c.Issue(ctx)
}

func TestIssue(t *testing.T) {
	m := newMesh(t)
	r := m.start(m.options())
	cert, err := issueOne(t, m.client(r, m.token(claimsOf())))
	if err != nil {
		t.Fatalf("%v\n%s", err, &m.logs)
	}
	if cert.ID != reviews {
		t.Errorf("identity %s, want %s", cert.ID, reviews)
	}
	var subject pkix.RDNSequence // Subject.String would join units that stand apart
	if _, err := asn1.Unmarshal(cert.Leaf.RawSubject, &subject); err != nil {
		t.Fatal(err)
	}
	if got, want := subject.String(), "OU=ver:v1,OU=app:reviews,OU=ns:shop,OU=wl:reviews-v1"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	if life := time.Until(cert.Leaf.NotAfter); life > DefaultTTL || life < DefaultTTL-time.Minute {
		t.Errorf("valid for %v, want about %v", life, DefaultTTL)
	}
	if len(cert.Leaf.DNSNames) != 0 {
		t.Errorf("DNS names %q for an account that has none", cert.Leaf.DNSNames)
	}
	if issued := m.metric(r, "citadel_server_success_cert_issuance_count"); issued != 1 {
		t.Errorf("%v certificates counted, want 1", issued)
	}
	if code, body := m.get(r, "/ready"); code != http.StatusOK {
		t.Errorf("/ready: %d %s", code, body)
	}
}

// A client of another kind may check the CA by its DNS name.
func TestServingCertificate(t *testing.T) {
	m := newMesh(t)
	r := m.start(m.options())
	text, err := os.ReadFile(m.path("root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: roots, ServerName: "weft-ca.weft-system.svc", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	id, err := enroll.PeerID(conn.ConnectionState())
	if err != nil || id.Account() != "weft-system/weft-ca" {
		t.Errorf("CA proves %s, %v", id, err)
	}
}

func TestRestartKeepsTheRoot(t *testing.T) {
	m := newMesh(t)
	r := m.start(m.options())
	before, err := issueOne(t, m.client(r, m.token(claimsOf())))
	if err != nil {
		t.Fatal(err)
	}
	root := readFile(t, m.path("root.pem"))
	if err := r.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	r = m.start(m.options())
	if again := readFile(t, m.path("root.pem")); again != root {
		t.Error("the root changed across a restart")
	}
	after, err := issueOne(t, m.client(r, m.token(claimsOf())))
	if err != nil {
		t.Fatal(err)
	}
	if before.Leaf.SerialNumber.Cmp(after.Leaf.SerialNumber) == 0 {
		t.Error("two certificates share a serial number")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOptionsThatCannotWork(t *testing.T) {
	m := newMesh(t)
	for name, change := range map[string]func(*Options){
		"store":              func(o *Options) { o.Store = "" },
		"local-identity-key": func(o *Options) { o.LocalIdentityKey = m.path("missing") },
		"listen":             func(o *Options) { o.Listen = "256.0.0.1:1" },
		"monitoring":         func(o *Options) { o.Monitoring = "nowhere" },
		"root-out":           func(o *Options) { o.RootOut = m.path("missing/root.pem") },
		"trust domain":       func(o *Options) { o.TrustDomain = "Not/One" },
		"kubeconfig": func(o *Options) {
			o.Kube, o.Kubeconfig, o.Store, o.RootOut, o.LocalIdentityKey = true, m.path("kubeconfig"), "", "", ""
		},
		"with --kube": func(o *Options) { o.Kube = true },
		"lifetime":    func(o *Options) { o.DefaultTTL, o.MaxTTL = 2*time.Hour, time.Hour },
	} {
		opts := m.options()
		change(&opts)
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		err := Run(ctx, opts)
		cancel()
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v does not name it", name, err)
		}
	}
}

func TestParseDNSNames(t *testing.T) {
	got, err := ParseDNSNames([]string{"weft-system/weft-pilot=pilot.svc", "istiod.svc", "a/b=c"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got["weft-system/weft-pilot"], []string{"pilot.svc", "istiod.svc"}) || !slices.Equal(got["a/b"], []string{"c"}) {
		t.Errorf("got %v", got)
	}
	for _, bad := range []string{"pilot.svc", "ns=pilot.svc", "a/b=", "a/b=*.svc", "A/b=c", "a/b=c d", "a/b=-c"} {
		if got, err := ParseDNSNames([]string{bad}); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

// The CA renews its own certificate like every other, without a restart.
func TestServingCertificateRotates(t *testing.T) {
	m := newMesh(t)
	opts := m.options()
	opts.DefaultTTL = 3 * time.Second
	r := m.start(opts)
	// On a machine that stalls a certificate of 3 s may have ended when it is looked at.
	var first, now string
	var err error
	defer func() { t.Logf("the last handshake: %v", err) }()
	within(t, "a serving certificate", func() bool { first, err = m.servingSerial(r); return err == nil })
	within(t, "another serving certificate", func() bool { now, err = m.servingSerial(r); return err == nil && now != first })
}

// servingSerial is the serial number of the certificate that the CA shows.
func (m *mesh) servingSerial(r *running) (string, error) {
	m.t.Helper()
	roots, err := enroll.RootsFile(m.path("root.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", r.addr, enroll.ClientTLS(nil, roots, nil))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}
