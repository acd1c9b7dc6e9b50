package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/issue"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// ownIssuer gets the CA's serving certificate from the CA, without the network:
// an enroll.Issuer, so that it is renewed like every other.
type ownIssuer struct {
	issuer *issue.Issuer
	id     spiffe.ID
}

// Issue makes a key and a certificate for the CA's own identity.
func (o *ownIssuer) Issue(context.Context) (*enroll.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := enroll.NewCSR(key, o.id)
	if err != nil {
		return nil, err
	}
	caller := identity.Caller{ID: o.id, Workload: o.id.ServiceAccount, App: o.id.ServiceAccount}
	issued, err := o.issuer.Issue(issue.Request{Caller: caller, CSR: string(csr)})
	if err != nil {
		return nil, err
	}
	return enroll.NewCertificate(key, []byte(strings.Join(issued.Chain, "")))
}
