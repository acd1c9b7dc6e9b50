package spiffe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// certificate is a self-signed certificate whose SAN extension is sans.
func certificate(t *testing.T, sans ...asn1.RawValue) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	if len(sans) > 0 {
		template.ExtraExtensions = []pkix.Extension{extension(t, sans...)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func extension(t *testing.T, sans ...asn1.RawValue) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(sans)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: der}
}

func name(tag int, value string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
}

func TestFromCertificate(t *testing.T) {
	const uri = "spiffe://cluster.local/ns/weft-system/sa/weft-pilot"
	id, err := FromCertificate(certificate(t, name(tagURI, uri), name(tagDNS, "weft-pilot.weft-system.svc")))
	if err != nil || id.String() != uri {
		t.Errorf("got %v, %v; want %s", id, err, uri)
	}
}

func TestFromCertificateRefuses(t *testing.T) {
	const uri = "spiffe://cluster.local/ns/a/sa/b"
	for what, names := range map[string][]asn1.RawValue{
		"no SAN":         nil,
		"no URI":         {name(tagDNS, "a.b")},
		"two URIs":       {name(tagURI, uri), name(tagURI, uri)},
		"other URI":      {name(tagURI, "https://cluster.local/")},
		"scheme's case":  {name(tagURI, "SPIFFE://cluster.local/ns/a/sa/b")},
		"empty fragment": {name(tagURI, uri+"#")},
	} {
		if id, err := FromCertificate(certificate(t, names...)); err == nil {
			t.Errorf("%s: got %v, want an error", what, id)
		}
	}
}

func TestReadSANsSeesEveryKind(t *testing.T) {
	got, err := ReadSANs([]pkix.Extension{extension(t,
		name(tagURI, "spiffe://x"), name(tagDNS, "d"), name(tagEmail, "e@f"), name(tagIP, "\x7f\x00\x00\x01"), name(8, "r"))})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.URIs, []string{"spiffe://x"}) || !slices.Equal(got.DNSNames, []string{"d"}) ||
		!slices.Equal(got.Emails, []string{"e@f"}) || len(got.IPs) != 1 || got.IPs[0].String() != "127.0.0.1" ||
		!slices.Equal(got.Other, []int{8}) {
		t.Errorf("got %+v", got)
	}
}

func TestReadSANsRefuses(t *testing.T) {
	twice := extension(t, name(tagDNS, "a"))
	for what, exts := range map[string][]pkix.Extension{
		"extension twice": {twice, twice},
		"not DER":         {{Id: oidSubjectAltName, Value: []byte("x")}},
		"trailing bytes":  {{Id: oidSubjectAltName, Value: append(slices.Clone(twice.Value), 0)}},
		"NUL in a name":   {extension(t, name(tagDNS, "good.com\x00.evil.com"))},
		"odd IP":          {extension(t, name(tagIP, "abc"))},
	} {
		if got, err := ReadSANs(exts); err == nil {
			t.Errorf("%s: got %+v, want an error", what, got)
		}
	}
}

func FuzzReadSANs(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0x82, 0x01, 'a'})
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := ReadSANs([]pkix.Extension{{Id: oidSubjectAltName, Value: der}})
		if err != nil {
			return
		}
		if joined := strings.Join(slices.Concat(got.URIs, got.DNSNames, got.Emails), ""); strings.ContainsAny(joined, "\x00\n ") {
			t.Errorf("unprintable name in %+v", got)
		}
	})
}
