package spiffe

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
)

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// GeneralName tags of RFC 5280, 4.2.1.6.
const (
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

// SANs are the subject alternative names as the bytes hold them. crypto/x509
// skips kinds of names that it does not know and normalises URIs, so a check
// that must see everything starts from here. The zero value holds no name.
type SANs struct {
	URIs, DNSNames, Emails []string
	IPs                    []netip.Addr
	Other                  []int // GeneralName tags of any other kind
}

// ReadSANs reads the subject alternative name extension among exts; without
// one it returns the zero SANs. Errors: the extension is there twice, is not
// DER, or holds a text that is not printable ASCII (a NUL, say, at which C
// programs would cut the name).
func ReadSANs(exts []pkix.Extension) (SANs, error) {
	var value []byte
	for _, e := range exts {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		if value != nil {
			return SANs{}, errors.New("spiffe: two subject alternative name extensions")
		}
		value = e.Value
	}
	if value == nil {
		return SANs{}, nil
	}
	return parseSANs(value)
}

func parseSANs(der []byte) (SANs, error) {
	var seq asn1.RawValue
	rest, err := asn1.Unmarshal(der, &seq)
	if err != nil || len(rest) > 0 || seq.Class != asn1.ClassUniversal || seq.Tag != asn1.TagSequence || !seq.IsCompound {
		return SANs{}, errors.New("spiffe: the subject alternative names are not one DER sequence")
	}
	var out SANs
	for rest := seq.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return SANs{}, fmt.Errorf("spiffe: subject alternative name: %w", err)
		}
		if err := out.add(name); err != nil {
			return SANs{}, err
		}
	}
	return out, nil
}

func (s *SANs) add(name asn1.RawValue) error {
	if name.Class != asn1.ClassContextSpecific {
		return fmt.Errorf("spiffe: subject alternative name of class %d", name.Class)
	}
	switch name.Tag {
	case tagURI:
		return appendText(&s.URIs, name.Bytes)
	case tagDNS:
		return appendText(&s.DNSNames, name.Bytes)
	case tagEmail:
		return appendText(&s.Emails, name.Bytes)
	case tagIP:
		addr, ok := netip.AddrFromSlice(name.Bytes)
		if !ok {
			return fmt.Errorf("spiffe: IP alternative name of %d bytes", len(name.Bytes))
		}
		s.IPs = append(s.IPs, addr)
	default:
		s.Other = append(s.Other, name.Tag)
	}
	return nil
}

func appendText(to *[]string, b []byte) error {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("spiffe: alternative name %q holds the byte 0x%02x", b, c)
		}
	}
	*to = append(*to, string(b))
	return nil
}

// FromCertificate is the identity in cert's one URI SAN. Errors: there is no
// URI SAN or more than one, or it is not an identity. Other kinds of names
// (DNS names of a control-plane server) do not matter.
//
// It does not verify cert: call it on a verified leaf.
// Source: SPIFFE X.509-SVID standard, 2.
func FromCertificate(cert *x509.Certificate) (ID, error) {
	sans, err := ReadSANs(cert.Extensions)
	if err != nil {
		return ID{}, err
	}
	if len(sans.URIs) != 1 {
		return ID{}, fmt.Errorf("spiffe: the certificate holds %d URI names, want exactly one", len(sans.URIs))
	}
	return Parse(sans.URIs[0])
}
