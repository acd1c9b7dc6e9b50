// Package issue turns a proven identity and a certificate request into a
// certificate.
//
// Inputs: an identity.Caller, a CSR and a lifetime. Outputs: a PEM chain whose
// names come from the Caller alone, or a refusal. It runs in phases: read the
// request, check it, make the template (all before anything signs), sign
// through smallstep's CAS interface, check what came back. Of all packages only
// this one may import smallstep.
package issue

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/refusal"
)

// Defaults and bounds.
const (
	DefaultTTL = 24 * time.Hour
	// Backdate is how far NotBefore is set back, for proxies whose clock is
	// behind: Istio's ClockSkewGracePeriod.
	Backdate = 2 * time.Minute
	// minLeft is the least validity that is worth a certificate: an authority
	// that ends sooner refuses.
	minLeft = time.Minute
)

// Options configure an Issuer.
type Options struct {
	Chain  []*x509.Certificate // signing certificate, then the intermediates above it
	Signer crypto.Signer       // key of Chain[0], or nil
	CAS    []byte              // where there is no Signer: who signs as Chain[0], smallstep's "cas" in JSON
	Roots  []*x509.Certificate // trusted roots; the first ends each chain that is returned

	DefaultTTL time.Duration // validity when none is asked for; 0 is DefaultTTL
	MaxTTL     time.Duration // longer wishes are cut to it; 0 is that of DefaultTTL

	// DNSNames gives the DNS names of an account (NAMESPACE/SERVICE-ACCOUNT, see
	// spiffe.ID.Account); nil: none has any.
	DNSNames func(account string) []string
}

// Issuer issues certificates. It is safe for concurrent use.
type Issuer struct {
	opts    Options
	backend apiv1.CertificateAuthorityService
	now     func() time.Time
	above   []string // PEM of the chain above the leaf, root last
}

// Request is one wish for a certificate.
type Request struct {
	Caller identity.Caller
	CSR    string        // PEM, PKCS #10
	TTL    time.Duration // 0 for the default
}

// Issued is a signed certificate.
type Issued struct {
	Leaf  *x509.Certificate
	Chain []string // PEM certificates, leaf first, root last
}

// New checks opts and starts the back end.
func New(ctx context.Context, opts Options) (*Issuer, error) {
	if opts.DefaultTTL == 0 {
		opts.DefaultTTL = DefaultTTL
	}
	if opts.MaxTTL == 0 {
		opts.MaxTTL = opts.DefaultTTL // who stole a pod's token gains no longer one
	}
	if opts.DefaultTTL < 0 || opts.DefaultTTL > opts.MaxTTL {
		return nil, fmt.Errorf("certificate lifetime %v is not between 0 and the longest one, %v", opts.DefaultTTL, opts.MaxTTL)
	}
	if len(opts.Chain) == 0 || len(opts.Roots) == 0 {
		return nil, errors.New("issue: no signing certificate or no root")
	}
	backend, err := startBackend(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &Issuer{opts: opts, backend: backend, now: time.Now, above: chainAbove(opts.Chain, opts.Roots[0])}, nil
}

// chainAbove is the PEM chain that follows each leaf, with the root last and
// only once.
func chainAbove(chain []*x509.Certificate, root *x509.Certificate) []string {
	all := chain
	if !slices.ContainsFunc(chain, root.Equal) {
		all = append(slices.Clone(chain), root)
	}
	out := make([]string, len(all))
	for i, c := range all {
		out[i] = certPEM(c)
	}
	return out
}

func certPEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// Expiry is when the signing certificate or the first root ends, whichever is
// sooner.
func (i *Issuer) Expiry() time.Time {
	end := i.opts.Roots[0].NotAfter
	if signer := i.opts.Chain[0].NotAfter; signer.Before(end) {
		return signer
	}
	return end
}

// Issue grants or refuses one request. Errors are *refusal.Error.
func (i *Issuer) Issue(req Request) (*Issued, error) {
	csr, err := parseCSR(req.CSR)
	if err != nil {
		return nil, err
	}
	var dns []string
	if i.opts.DNSNames != nil {
		dns = i.opts.DNSNames(req.Caller.ID.Account())
	}
	if err := checkCSR(csr, req.Caller.ID, dns); err != nil {
		return nil, err
	}
	life, err := i.validity(req.TTL)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(csr, req.Caller, dns)
	if err != nil {
		return nil, err
	}
	template.NotBefore, template.NotAfter = life.from, life.until
	return i.sign(csr, template)
}

// sign has the back end sign a copy of template and checks what came back.
func (i *Issuer) sign(csr *x509.CertificateRequest, template *x509.Certificate) (*Issued, error) {
	bounds, remote := *template, apiv1.TypeOf(i.backend) != apiv1.SoftCAS
	lifetime := template.NotAfter.Sub(template.NotBefore)
	if remote { // it counts from its own now, by its own clock
		lifetime = template.NotAfter.Sub(i.now()).Round(time.Second)
		bounds.NotBefore, bounds.NotAfter = template.NotBefore.Add(-Backdate), template.NotAfter.Add(Backdate)
	}
	given := *template // the back end fills in and may change fields of its own copy
	given.URIs, given.DNSNames = slices.Clone(template.URIs), slices.Clone(template.DNSNames)
	given.Subject.ExtraNames = slices.Clone(template.Subject.ExtraNames)
	reply, err := i.backend.CreateCertificate(&apiv1.CreateCertificateRequest{
		Template: &given, CSR: csr, Backdate: Backdate, Lifetime: lifetime,
	})
	if err != nil {
		return nil, &refusal.Error{Reason: refusal.Backend, Err: err}
	}
	err = checkLeaf(reply.Certificate, &bounds, i.opts.Chain[0])
	// softcas signs by x509.CreateCertificate, which has just verified the
	// signature; a second time would cost a quarter of all. Others get checked.
	if err == nil && remote {
		err = reply.Certificate.CheckSignatureFrom(i.opts.Chain[0])
	}
	if err != nil {
		return nil, &refusal.Error{Reason: refusal.BadLeaf, Err: err}
	}
	return &Issued{Leaf: reply.Certificate, Chain: append([]string{certPEM(reply.Certificate)}, i.above...)}, nil
}

type interval struct{ from, until time.Time }

// validity is the interval granted for a wish of ttl.
func (i *Issuer) validity(ttl time.Duration) (interval, error) {
	if ttl < 0 {
		return interval{}, refusal.New(refusal.CSRValidity, "validity of %v asked for", ttl)
	}
	if ttl == 0 {
		ttl = i.opts.DefaultTTL
	}
	now := i.now()
	until := now.Add(min(ttl, i.opts.MaxTTL))
	if end := i.Expiry(); until.After(end) {
		until = end
		if end.Sub(now) < minLeft {
			return interval{}, refusal.New(refusal.AuthorityExpired, "the CA's own certificate ends at %s: renew it", end.UTC().Format(time.RFC3339))
		}
	}
	// Certificates count whole seconds.
	return interval{from: now.Add(-Backdate).UTC().Truncate(time.Second), until: until.UTC().Truncate(time.Second)}, nil
}
