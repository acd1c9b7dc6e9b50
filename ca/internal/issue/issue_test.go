package issue

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
)

var caller = identity.Caller{
	ID:       spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "reviews"},
	Workload: "reviews-v1", App: "reviews", Version: "v1",
	Pod: identity.Pod{Name: "reviews-v1-0", UID: "1"},
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// root is a self-signed authority that ends after life.
func root(t testing.TB, life time.Duration) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key := newKey(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func newIssuer(t testing.TB, change func(*Options)) *Issuer {
	t.Helper()
	cert, key := root(t, 100*24*time.Hour)
	opts := Options{Chain: []*x509.Certificate{cert}, Signer: key, Roots: []*x509.Certificate{cert}}
	if change != nil {
		change(&opts)
	}
	issuer, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// csr is a PEM request of key for template.
func csr(t testing.TB, key crypto.Signer, template x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return encodeCSR(der)
}

func encodeCSR(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func ownURI() []*url.URL { return []*url.URL{caller.ID.URL()} }

func goodCSR(t testing.TB) string {
	return csr(t, newKey(t, elliptic.P256()), x509.CertificateRequest{URIs: ownURI()})
}

func TestIssue(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"P-256":          goodCSR(t),
		"P-384":          csr(t, newKey(t, elliptic.P384()), x509.CertificateRequest{URIs: ownURI()}),
		"RSA-2048":       csr(t, rsaKey, x509.CertificateRequest{URIs: ownURI()}),
		"no names":       csr(t, newKey(t, elliptic.P256()), x509.CertificateRequest{}),
		"foreign CN":     csr(t, newKey(t, elliptic.P256()), x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin"}, URIs: ownURI()}),
		"leading spaces": "\n" + goodCSR(t),
	} {
		t.Run(name, func(t *testing.T) {
			issuer := newIssuer(t, nil)
			got, err := issuer.Issue(Request{Caller: caller, CSR: text})
			if err != nil {
				t.Fatal(err)
			}
			checkIssued(t, got)
		})
	}
}

// checkIssued looks at a certificate as a peer would.
func checkIssued(t *testing.T, got *Issued) {
	t.Helper()
	if id, err := spiffe.FromCertificate(got.Leaf); err != nil || id != caller.ID {
		t.Errorf("leaf proves %v, %v", id, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(got.Chain[len(got.Chain)-1])) {
		t.Error("the chain does not end in a root")
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := got.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"wl:reviews-v1", "ns:shop", "app:reviews", "ver:v1"}; !slices.Equal(units(t, got.Leaf), want) {
		t.Errorf("units %q, want %q", units(t, got.Leaf), want)
	}
	if got.Leaf.Subject.CommonName != "" || got.Leaf.IsCA || len(got.Leaf.DNSNames) > 0 {
		t.Errorf("leaf has CN %q, CA %v, DNS %q", got.Leaf.Subject.CommonName, got.Leaf.IsCA, got.Leaf.DNSNames)
	}
	if skew := time.Until(got.Leaf.NotBefore); skew > -Backdate+5*time.Second {
		t.Errorf("NotBefore lies %v from now", skew)
	}
}

// units are the OUs of a subject, one relative distinguished name each.
func units(t *testing.T, leaf *x509.Certificate) (out []string) {
	t.Helper()
	var subject pkix.RDNSequence
	if _, err := asn1.Unmarshal(leaf.RawSubject, &subject); err != nil {
		t.Fatal(err)
	}
	for _, rdn := range subject {
		if len(rdn) != 1 {
			t.Errorf("multi-valued name %v", rdn)
		}
		out = append(out, rdn[0].Value.(string))
	}
	return out
}

func TestDNSNamesOfNamedAccounts(t *testing.T) {
	names := []string{"reviews.shop.svc", "reviews"}
	issuer := newIssuer(t, func(o *Options) {
		o.DNSNames = func(account string) []string { return map[string][]string{"shop/reviews": names}[account] }
	})
	for _, asked := range [][]string{nil, {"reviews"}, names} {
		got, err := issuer.Issue(Request{Caller: caller, CSR: csr(t, newKey(t, elliptic.P256()), x509.CertificateRequest{DNSNames: asked})})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Leaf.DNSNames, names) {
			t.Errorf("asked for %q, got %q, want all: %q", asked, got.Leaf.DNSNames, names)
		}
	}
	_, err := issuer.Issue(Request{Caller: caller, CSR: csr(t, newKey(t, elliptic.P256()), x509.CertificateRequest{DNSNames: []string{"ratings"}})})
	wantReason(t, err, refusal.CSRName)
}

func wantReason(t *testing.T, err error, want refusal.Reason) {
	t.Helper()
	if got := refusal.Of(err); got != want {
		t.Errorf("refused for %q (%v), want %q", got, err, want)
	}
}

func TestValidity(t *testing.T) {
	issuer := newIssuer(t, func(o *Options) { o.DefaultTTL, o.MaxTTL = time.Hour, 2*time.Hour })
	text := goodCSR(t)
	for asked, want := range map[time.Duration]time.Duration{
		0: time.Hour, time.Minute: time.Minute, 2 * time.Hour: 2 * time.Hour, 1000 * time.Hour: 2 * time.Hour,
	} {
		got, err := issuer.Issue(Request{Caller: caller, CSR: text, TTL: asked})
		if err != nil {
			t.Fatal(err)
		}
		if life := time.Until(got.Leaf.NotAfter); life > want || life < want-10*time.Second {
			t.Errorf("asked for %v, got %v, want %v", asked, life, want)
		}
	}
	_, err := issuer.Issue(Request{Caller: caller, CSR: text, TTL: -time.Second})
	wantReason(t, err, refusal.CSRValidity)
}

// TestNobodyAsksForAYear: who holds a pod's token gets no certificate that outlives
// what is said to end with it, unless the mesh's owner has opted in.
func TestNobodyAsksForAYear(t *testing.T) {
	for name, c := range map[string]struct{ ttl, most, want time.Duration }{
		"by default": {0, 0, 24 * time.Hour}, "another lifetime": {48 * time.Hour, 0, 48 * time.Hour}, "opted in": {time.Hour, 72 * time.Hour, 72 * time.Hour},
	} {
		issuer := newIssuer(t, func(o *Options) { o.DefaultTTL, o.MaxTTL = c.ttl, c.most })
		got, err := issuer.Issue(Request{Caller: caller, CSR: goodCSR(t), TTL: 365 * 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if life := time.Until(got.Leaf.NotAfter); life > c.want || life < c.want-time.Minute {
			t.Errorf("%s: asked for a year, got %v, want %v", name, life, c.want)
		}
	}
}

func TestNeverOutlivesTheAuthority(t *testing.T) {
	withEnd := func(life time.Duration) *Issuer {
		cert, key := root(t, life)
		return newIssuer(t, func(o *Options) {
			o.Chain, o.Roots, o.Signer = []*x509.Certificate{cert}, []*x509.Certificate{cert}, key
		})
	}
	got, err := withEnd(time.Hour).Issue(Request{Caller: caller, CSR: goodCSR(t)})
	if err != nil {
		t.Fatal(err)
	}
	if life := time.Until(got.Leaf.NotAfter); life > time.Hour {
		t.Errorf("leaf lives %v, its root an hour", life)
	}
	_, err = withEnd(30 * time.Second).Issue(Request{Caller: caller, CSR: goodCSR(t)})
	wantReason(t, err, refusal.AuthorityExpired)
}

func TestLabels(t *testing.T) {
	long := strings.Repeat("a", 62)
	who := caller
	who.Workload, who.App, who.Version = long+"-one", "", long+"2"
	got, err := newIssuer(t, nil).Issue(Request{Caller: who, CSR: goodCSR(t)})
	if err != nil {
		t.Fatal(err)
	}
	ous := units(t, got.Leaf)
	if len(ous) != 3 || len(ous[0]) != spiffe.MaxUnit || len(ous[2]) != spiffe.MaxUnit || ous[1] != "ns:shop" {
		t.Fatalf("units %q", ous)
	}
	who.Workload = long + "-two"
	other, err := newIssuer(t, nil).Issue(Request{Caller: who, CSR: goodCSR(t)})
	if err != nil {
		t.Fatal(err)
	}
	if units(t, other.Leaf)[0] == ous[0] {
		t.Errorf("two workloads share the label %q", ous[0])
	}
	who.App = "x,OU=ns:admin"
	_, err = newIssuer(t, nil).Issue(Request{Caller: who, CSR: goodCSR(t)})
	wantReason(t, err, refusal.TokenClaims)
}

// hostile is one request that must be refused before anything signs.
type hostile struct {
	csr  string
	want refusal.Reason
}

func extension(oid asn1.ObjectIdentifier, value any) []pkix.Extension {
	der, err := asn1.Marshal(value)
	if err != nil {
		panic(err)
	}
	return []pkix.Extension{{Id: oid, Value: der}}
}

func sanOf(tag int, value string) []pkix.Extension {
	return extension(oidSubjectAltName, []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}})
}

func hostileCSRs(t *testing.T) map[string]hostile {
	p256 := newKey(t, elliptic.P256())
	with := func(r x509.CertificateRequest) string { return csr(t, p256, r) }
	ext := func(e []pkix.Extension) string { return with(x509.CertificateRequest{ExtraExtensions: e}) }
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign := caller.ID
	foreign.ServiceAccount = "admin"
	good := goodCSR(t)
	return map[string]hostile{
		"empty":                {"", refusal.CSRMalformed},
		"garbage":              {"\x00\xff" + strings.Repeat("x", 100), refusal.CSRMalformed},
		"oversized":            {good + strings.Repeat("\n", maxCSR), refusal.CSROversized},
		"certificate block":    {strings.ReplaceAll(good, "CERTIFICATE REQUEST", "CERTIFICATE"), refusal.CSRMalformed},
		"two requests":         {good + good, refusal.CSRMalformed},
		"text before":          {"hello\n" + good, refusal.CSRMalformed},
		"cut short":            {encodeCSR(decode(t, good)[:100]), refusal.CSRMalformed},
		"trailing DER":         {encodeCSR(append(decode(t, good), 0)), refusal.CSRMalformed},
		"foreign URI":          {with(x509.CertificateRequest{URIs: []*url.URL{foreign.URL()}}), refusal.CSRName},
		"own and foreign URI":  {with(x509.CertificateRequest{URIs: []*url.URL{caller.ID.URL(), foreign.URL()}}), refusal.CSRName},
		"own URI twice":        {with(x509.CertificateRequest{URIs: append(ownURI(), ownURI()...)}), refusal.CSRName},
		"DNS name":             {with(x509.CertificateRequest{DNSNames: []string{"weft-pilot.weft-system.svc"}}), refusal.CSRName},
		"IP address":           {with(x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}), refusal.CSRName},
		"email":                {with(x509.CertificateRequest{EmailAddresses: []string{"a@b.c"}}), refusal.CSRName},
		"other name kind":      {ext(sanOf(8, "\x2a\x03")), refusal.CSRName},
		"NUL in DNS name":      {ext(sanOf(2, "reviews\x00.evil")), refusal.CSRName},
		"NUL in URI":           {ext(sanOf(6, caller.ID.String()+"\x00x")), refusal.CSRMalformed},
		"URI fragment":         {ext(sanOf(6, caller.ID.String()+"#")), refusal.CSRName},
		"CA:TRUE":              {ext(extension(oidBasicConstraints, struct{ CA bool }{true})), refusal.CSRAuthority},
		"path length":          {ext(extension(oidBasicConstraints, struct{ Len int }{3})), refusal.CSRAuthority},
		"may sign":             {ext(extension(oidKeyUsage, asn1.BitString{Bytes: []byte{0x04}, BitLength: 6})), refusal.CSRAuthority},
		"code signing":         {ext(extension(oidExtKeyUsage, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 3}})), refusal.CSRExtension},
		"name constraints":     {ext(extension(asn1.ObjectIdentifier{2, 5, 29, 30}, []int{})), refusal.CSRExtension},
		"broken constraints":   {ext([]pkix.Extension{{Id: oidBasicConstraints, Value: []byte{1}}}), refusal.CSRMalformed},
		"broken key usage":     {ext([]pkix.Extension{{Id: oidKeyUsage, Value: []byte{1}}}), refusal.CSRMalformed},
		"broken ext key usage": {ext([]pkix.Extension{{Id: oidExtKeyUsage, Value: []byte{1}}}), refusal.CSRMalformed},
		"P-224":                {csr(t, newKey(t, elliptic.P224()), x509.CertificateRequest{}), refusal.CSRKey},
		"P-521":                {csr(t, newKey(t, elliptic.P521()), x509.CertificateRequest{}), refusal.CSRKey},
		"Ed25519":              {csr(t, edKey, x509.CertificateRequest{}), refusal.CSRKey},
		"RSA-512":              {rsa512CSR, refusal.CSRKey},
		"RSA-4097":             {withRSA(t, 4097, 65537), refusal.CSRKey},
		"RSA-8192":             {withRSA(t, 8192, 65537), refusal.CSRKey},
		"RSA exponent 3":       {withRSA(t, 2048, 3), refusal.CSRKey},
		"RSA exponent 65535":   {withRSA(t, 2048, 65535), refusal.CSRKey},
		"foreign signature":    {encodeCSR(forged(t, good)), refusal.CSRSignature},
	}
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	return block.Bytes
}

// withRSA is a request for an RSA key that nobody need have made: what is wrong with
// such a key is said before its signature is looked at, which costs most.
func withRSA(t *testing.T, bits uint, exponent int) string {
	t.Helper()
	odd := new(big.Int).Lsh(big.NewInt(1), bits-1)
	spki, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: odd.SetBit(odd, 0, 1), E: exponent})
	if err != nil {
		t.Fatal(err)
	}
	var request struct {
		Info struct {
			Version                  int
			Subject, Key, Attributes asn1.RawValue
		}
		Algorithm, Signature asn1.RawValue
	}
	if _, err := asn1.Unmarshal(decode(t, rsa512CSR), &request); err != nil {
		t.Fatal(err)
	}
	request.Info.Key = asn1.RawValue{FullBytes: spki}
	der, err := asn1.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	return encodeCSR(der)
}

// forged is the request with the last bit of its signature changed.
func forged(t *testing.T, text string) []byte {
	der := decode(t, text)
	der[len(der)-1] ^= 1
	return der
}

func TestHostileCSRs(t *testing.T) {
	issuer := newIssuer(t, nil)
	issuer.backend = refuseToSign{t}
	for name, c := range hostileCSRs(t) {
		t.Run(name, func(t *testing.T) {
			_, err := issuer.Issue(Request{Caller: caller, CSR: c.csr})
			wantReason(t, err, c.want)
		})
	}
}

// refuseToSign is a back end that must not be reached.
type refuseToSign struct{ t *testing.T }

func (r refuseToSign) CreateCertificate(*apiv1.CreateCertificateRequest) (*apiv1.CreateCertificateResponse, error) {
	r.t.Error("the request reached the back end")
	return nil, apiv1.NotImplementedError{}
}

func (refuseToSign) RenewCertificate(*apiv1.RenewCertificateRequest) (*apiv1.RenewCertificateResponse, error) {
	return nil, apiv1.NotImplementedError{}
}

func (refuseToSign) RevokeCertificate(*apiv1.RevokeCertificateRequest) (*apiv1.RevokeCertificateResponse, error) {
	return nil, apiv1.NotImplementedError{}
}

func FuzzCSR(f *testing.F) {
	issuer := newIssuer(f, nil)
	f.Add(decodeForFuzz(goodCSR(f)))
	f.Add(decodeForFuzz(rsa512CSR))
	f.Add(decodeForFuzz(csr(f, newKey(f, elliptic.P384()), x509.CertificateRequest{URIs: ownURI(), DNSNames: []string{"a"}})))
	f.Fuzz(func(t *testing.T, der []byte) { tryIssue(t, issuer, encodeCSR(der)) })
}

func FuzzCSRText(f *testing.F) {
	issuer := newIssuer(f, nil)
	f.Add(goodCSR(f))
	f.Fuzz(func(t *testing.T, text string) { tryIssue(t, issuer, text) })
}

// tryIssue accepts a refusal or a certificate of the caller, and nothing else.
func tryIssue(t *testing.T, issuer *Issuer, text string) {
	got, err := issuer.Issue(Request{Caller: caller, CSR: text})
	if err == nil {
		checkIssued(t, got)
	} else if refusal.Of(err) == refusal.Internal {
		t.Errorf("not a refusal: %v", err)
	}
}

func decodeForFuzz(text string) []byte {
	block, _ := pem.Decode([]byte(text))
	return block.Bytes
}

// BenchmarkIssue is the way from the bytes of a CSR to a PEM chain.
func BenchmarkIssue(b *testing.B) {
	issuer, text := newIssuer(b, nil), goodCSR(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuer.Issue(Request{Caller: caller, CSR: text}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "CSRs/s")
}
