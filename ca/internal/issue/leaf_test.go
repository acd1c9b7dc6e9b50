package issue

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"github.com/weftmesh/weft/ca/internal/refusal"
)

// otherBackend signs with key what change makes of the template.
type otherBackend struct {
	refuseToSign
	issuer *x509.Certificate
	key    crypto.Signer
	change func(*x509.Certificate)
}

func (b otherBackend) CreateCertificate(req *apiv1.CreateCertificateRequest) (*apiv1.CreateCertificateResponse, error) {
	leaf := *req.Template
	leaf.SerialNumber = big.NewInt(7)
	b.change(&leaf)
	der, err := x509.CreateCertificate(rand.Reader, &leaf, b.issuer, leaf.PublicKey, b.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &apiv1.CreateCertificateResponse{Certificate: cert}, err
}

// A back end may drop the labels, and nothing else.
func TestBackendThatSignsSomethingElse(t *testing.T) {
	otherKey := newKey(t, elliptic.P256()).Public()
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		want   refusal.Reason
	}{
		"as asked":       {func(*x509.Certificate) {}, ""},
		"labels dropped": {func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "x"} }, ""},
		"shorter":        {func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(-time.Hour) }, ""},
		"longer":         {func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) }, refusal.BadLeaf},
		"earlier":        {func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Hour) }, refusal.BadLeaf},
		"other key":      {func(c *x509.Certificate) { c.PublicKey = otherKey }, refusal.BadLeaf},
		"other identity": {func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }, refusal.BadLeaf},
		"no identity":    {func(c *x509.Certificate) { c.URIs = nil }, refusal.BadLeaf},
		"further DNS":    {func(c *x509.Certificate) { c.DNSNames = []string{"x"} }, refusal.BadLeaf},
		"further email":  {func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b"} }, refusal.BadLeaf},
		"CA":             {func(c *x509.Certificate) { c.IsCA = true }, refusal.BadLeaf},
		"may sign":       {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, refusal.BadLeaf},
		"fewer usages":   {func(c *x509.Certificate) { c.ExtKeyUsage = nil }, refusal.BadLeaf},
		"usages of Vault's default role": {func(c *x509.Certificate) {
			c.KeyUsage |= x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
		}, ""},
		"usages in another order": {func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		}, ""},
		"one usage twice, one not": {func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageServerAuth}
		}, refusal.BadLeaf},
		"code signing":         {func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) }, refusal.BadLeaf},
		"any usage":            {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, refusal.BadLeaf},
		"may sign leaves":      {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, refusal.BadLeaf},
		"may sign documents":   {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageContentCommitment }, refusal.BadLeaf},
		"may encipher data":    {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDataEncipherment }, refusal.BadLeaf},
		"no digital signature": {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, refusal.BadLeaf},
		"foreign label":        {func(c *x509.Certificate) { c.Subject.ExtraNames[0].Value = "wl:admin" }, refusal.BadLeaf},
		"plain unit":           {func(c *x509.Certificate) { c.Subject = pkix.Name{OrganizationalUnit: []string{"ns:admin"}} }, refusal.BadLeaf},
		"critical novelty": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, refusal.BadLeaf},
	} {
		t.Run(name, func(t *testing.T) {
			cert, key := root(t, 100*24*time.Hour)
			issuer := newIssuer(t, func(o *Options) {
				o.Chain, o.Roots, o.Signer = []*x509.Certificate{cert}, []*x509.Certificate{cert}, key
			})
			issuer.backend = otherBackend{issuer: cert, key: key, change: c.change}
			_, err := issuer.Issue(Request{Caller: caller, CSR: goodCSR(t)})
			wantReason(t, err, c.want)
		})
	}
}

// A leaf that names our CA as its issuer but was signed by another key.
func TestBackendWithAnotherKey(t *testing.T) {
	issuer := newIssuer(t, nil)
	_, key := root(t, time.Hour)
	impostor := *issuer.opts.Chain[0]
	impostor.PublicKey = key.Public()
	issuer.backend = otherBackend{issuer: &impostor, key: key, change: func(*x509.Certificate) {}}
	_, err := issuer.Issue(Request{Caller: caller, CSR: goodCSR(t)})
	wantReason(t, err, refusal.BadLeaf)
}
