package issue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"strings"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
)

const (
	// maxCSR is the longest request looked at, in bytes of PEM; one for an RSA
	// key of 4096 bits has 1.7 kB.
	maxCSR = 8 << 10
	// RSA moduli accepted, in bits. Larger ones cost the verifiers more than
	// they give.
	minRSA, maxRSA = 2048, 4096
	minExponent    = 65537
)

// Extensions that a request may hold. Sources: RFC 5280, 4.2.1.
var (
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}

	oidServerAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	oidClientAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
)

// Bits of the key usage extension (RFC 5280, 4.2.1.3).
const (
	bitCertSign = 5
	bitCRLSign  = 6
)

// parseCSR reads one PEM block and nothing beside it.
func parseCSR(text string) (*x509.CertificateRequest, error) {
	if len(text) > maxCSR {
		return nil, refusal.New(refusal.CSROversized, "CSR of %d bytes, at most %d", len(text), maxCSR)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || !strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN") {
		return nil, refusal.New(refusal.CSRMalformed, "the CSR is not a PEM block")
	}
	if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, refusal.New(refusal.CSRMalformed, "the PEM block is a %q, want CERTIFICATE REQUEST", block.Type)
	}
	if len(strings.TrimSpace(string(rest))) > 0 {
		return nil, refusal.New(refusal.CSRMalformed, "%d bytes follow the CSR", len(rest))
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, refusal.New(refusal.CSRMalformed, "%w", err)
	}
	return csr, nil
}

// checkCSR reports the first thing that id may not have. The signature is
// checked last, for it costs most.
func checkCSR(csr *x509.CertificateRequest, id spiffe.ID, dns []string) error {
	if err := checkKey(csr.PublicKey); err != nil {
		return err
	}
	if err := checkAlgorithm(csr.SignatureAlgorithm); err != nil {
		return err
	}
	for _, e := range csr.Extensions {
		if err := checkExtension(e); err != nil {
			return err
		}
	}
	if err := checkNames(csr.Extensions, id, dns); err != nil {
		return err
	}
	if err := csr.CheckSignature(); err != nil {
		return refusal.New(refusal.CSRSignature, "the CSR is not signed by its own key: %w", err)
	}
	return nil
}

func checkKey(public any) error {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return nil
		}
		return refusal.New(refusal.CSRKey, "ECDSA key on curve %s, want P-256 or P-384", key.Params().Name)
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return refusal.New(refusal.CSRKey, "RSA key of %d bits, want %d to %d", bits, minRSA, maxRSA)
		}
		if key.E < minExponent || key.N.Bit(0) == 0 {
			return refusal.New(refusal.CSRKey, "weak RSA key: exponent %d or even modulus", key.E)
		}
		return nil
	}
	return refusal.New(refusal.CSRKey, "key of type %T, want ECDSA P-256 or P-384, or RSA", public)
}

func checkAlgorithm(a x509.SignatureAlgorithm) error {
	switch a {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		return nil
	default:
		return refusal.New(refusal.CSRSignature, "signature algorithm %v, want SHA-256 or better", a)
	}
}

// checkExtension refuses wishes that would be dropped silently otherwise.
func checkExtension(e pkix.Extension) error {
	switch {
	case e.Id.Equal(oidSubjectAltName), e.Id.Equal(oidSubjectKeyID):
		return nil // names are checked as a whole; the key id is ours
	case e.Id.Equal(oidBasicConstraints):
		return checkBasicConstraints(e.Value)
	case e.Id.Equal(oidKeyUsage):
		return checkKeyUsage(e.Value)
	case e.Id.Equal(oidExtKeyUsage):
		return checkExtKeyUsage(e.Value)
	}
	return refusal.New(refusal.CSRExtension, "extension %v is not granted", e.Id)
}

func checkBasicConstraints(der []byte) error {
	var v struct {
		IsCA       bool `asn1:"optional"`
		MaxPathLen int  `asn1:"optional,default:-1"`
	}
	if !unmarshalAll(der, &v) {
		return refusal.New(refusal.CSRMalformed, "basic constraints are not DER")
	}
	if v.IsCA || v.MaxPathLen != -1 {
		return refusal.New(refusal.CSRAuthority, "basic constraints ask for CA:TRUE")
	}
	return nil
}

func checkKeyUsage(der []byte) error {
	var bits asn1.BitString
	if !unmarshalAll(der, &bits) {
		return refusal.New(refusal.CSRMalformed, "key usage is not DER")
	}
	if bits.At(bitCertSign) != 0 || bits.At(bitCRLSign) != 0 {
		return refusal.New(refusal.CSRAuthority, "key usage asks to sign certificates")
	}
	return nil
}

func checkExtKeyUsage(der []byte) error {
	var usages []asn1.ObjectIdentifier
	if !unmarshalAll(der, &usages) {
		return refusal.New(refusal.CSRMalformed, "extended key usage is not DER")
	}
	for _, u := range usages {
		if !u.Equal(oidServerAuth) && !u.Equal(oidClientAuth) {
			return refusal.New(refusal.CSRExtension, "extended key usage %v is not granted", u)
		}
	}
	return nil
}

// unmarshalAll reports whether der is one value of out's type and no more.
func unmarshalAll(der []byte, out any) bool {
	rest, err := asn1.Unmarshal(der, out)
	return err == nil && len(rest) == 0
}

// checkNames compares every name asked for with the proven identity. Asking for
// none is fine: the names are set by us anyway.
func checkNames(exts []pkix.Extension, id spiffe.ID, dns []string) error {
	sans, err := spiffe.ReadSANs(exts)
	if err != nil {
		return &refusal.Error{Reason: refusal.CSRName, Err: err}
	}
	for _, uri := range sans.URIs {
		if uri != id.String() {
			return refusal.New(refusal.CSRName, "URI %q asked for by %s", uri, id)
		}
	}
	for _, name := range sans.DNSNames {
		if !slices.Contains(dns, name) {
			return refusal.New(refusal.CSRName, "DNS name %q asked for by %s, which may have %q", name, id, dns)
		}
	}
	switch {
	case len(sans.URIs) > 1:
		return refusal.New(refusal.CSRName, "%d URI names asked for, want one", len(sans.URIs))
	case len(sans.IPs) > 0:
		return refusal.New(refusal.CSRName, "IP address %s asked for by %s", sans.IPs[0], id)
	case len(sans.Emails) > 0:
		return refusal.New(refusal.CSRName, "email address %q asked for by %s", sans.Emails[0], id)
	case len(sans.Other) > 0:
		return refusal.New(refusal.CSRName, "name of kind %d asked for by %s", sans.Other[0], id)
	}
	return nil
}
