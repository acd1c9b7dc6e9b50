package issue

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
)

var oidOrganizationalUnit = asn1.ObjectIdentifier{2, 5, 4, 11}

// newTemplate is the certificate that caller gets, without its dates.
func newTemplate(csr *x509.CertificateRequest, caller identity.Caller, dns []string) (*x509.Certificate, error) {
	if err := caller.ID.Validate(); err != nil {
		return nil, &refusal.Error{Reason: refusal.Internal, Err: err}
	}
	subject, err := subjectOf(caller)
	if err != nil {
		return nil, err
	}
	usage := x509.KeyUsageDigitalSignature
	if _, ok := csr.PublicKey.(*rsa.PublicKey); ok {
		usage |= x509.KeyUsageKeyEncipherment // RSA key exchange of TLS 1.2
	}
	return &x509.Certificate{
		Subject:               subject,
		PublicKey:             csr.PublicKey,
		URIs:                  []*url.URL{caller.ID.URL()},
		DNSNames:              dns,
		KeyUsage:              usage,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, nil
}

// subjectOf writes the caller's labels as organizational units that the peers'
// proxies read: wl:WORKLOAD, ns:NAMESPACE, app:APP, ver:VERSION, those that are
// known. Each is a relative distinguished name of its own, for a multi-valued
// one prints as OU=a+OU=b.
func subjectOf(c identity.Caller) (pkix.Name, error) {
	var name pkix.Name
	for _, l := range []struct {
		name  spiffe.Label
		value string
	}{
		{spiffe.WorkloadLabel, c.Workload}, {spiffe.NamespaceLabel, c.Namespace()}, {spiffe.AppLabel, c.App}, {spiffe.VersionLabel, c.Version},
	} {
		if l.value == "" {
			continue
		}
		// Proxies search the printed subject: a comma, plus or backslash in one
		// label could pass for another label.
		if strings.ContainsFunc(l.value, notLabelRune) {
			return name, refusal.New(refusal.TokenClaims, "label %s:%q may hold only letters, digits, '.', '-' and '_'", l.name, l.value)
		}
		name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{
			Type: oidOrganizationalUnit, Value: l.name.Unit(l.value),
		})
	}
	return name, nil
}

func notLabelRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
}

// harmless are the key usages of a TLS peer. Vault's roles grant all of them
// unless they say otherwise; none makes a leaf good for more than TLS.
const harmless = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement

// sameUsages compares as sets: the order of extended key usages says nothing.
func sameUsages(got, want []x509.ExtKeyUsage) bool {
	within := func(a, b []x509.ExtKeyUsage) bool {
		return !slices.ContainsFunc(a, func(u x509.ExtKeyUsage) bool { return !slices.Contains(b, u) })
	}
	return within(got, want) && within(want, got)
}

// checkLeaf reports how a returned leaf differs from what was asked for. A back
// end may leave out the subject's labels (Vault and step-ca do), but it may not
// change anything else that a peer relies on.
func checkLeaf(leaf, want, issuer *x509.Certificate) error {
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(want.PublicKey):
		return errors.New("leaf is for another key")
	case leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return errors.New("leaf may sign certificates")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 || leaf.KeyUsage&^harmless != 0 || !sameUsages(leaf.ExtKeyUsage, want.ExtKeyUsage) || len(leaf.UnknownExtKeyUsage) > 0:
		return errors.New("leaf has other key usages")
	case leaf.NotBefore.Before(want.NotBefore) || leaf.NotAfter.After(want.NotAfter):
		return fmt.Errorf("leaf is valid from %s to %s, asked for %s to %s", leaf.NotBefore, leaf.NotAfter, want.NotBefore, want.NotAfter)
	case string(leaf.RawIssuer) != string(issuer.RawSubject):
		return fmt.Errorf("leaf is signed by %s, not by %s", leaf.Issuer, issuer.Subject)
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("leaf has critical extension %v", leaf.UnhandledCriticalExtensions[0])
	}
	if err := checkLeafNames(leaf, want); err != nil {
		return err
	}
	return checkLeafSubject(leaf, want)
}

func checkLeafNames(leaf, want *x509.Certificate) error {
	sans, err := spiffe.ReadSANs(leaf.Extensions)
	if err != nil {
		return err
	}
	if len(sans.URIs) != 1 || sans.URIs[0] != want.URIs[0].String() {
		return fmt.Errorf("leaf names %q, want %q", sans.URIs, want.URIs)
	}
	if !slices.Equal(sans.DNSNames, want.DNSNames) || len(sans.Emails)+len(sans.IPs)+len(sans.Other) > 0 {
		return fmt.Errorf("leaf has other names than asked for: %+v", sans)
	}
	return nil
}

// checkLeafSubject allows in the subject only the labels that were asked for.
func checkLeafSubject(leaf, want *x509.Certificate) error {
	for _, got := range leaf.Subject.Names {
		same := func(asked pkix.AttributeTypeAndValue) bool { return asked.Value == got.Value }
		if got.Type.Equal(oidOrganizationalUnit) && !slices.ContainsFunc(want.Subject.ExtraNames, same) {
			return fmt.Errorf("leaf has the unit %q, which was not asked for", got.Value)
		}
	}
	return nil
}
