package compile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	core "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// compileSecret reads one Secret that holds a TLS credential; other Secrets
// give nothing. Both of Istio's layouts are read: tls.crt, tls.key, ca.crt,
// ca.crl and cert, key, cacert, crl. A credential that Envoy would refuse is left out.
//
// Source: Istio "Secure Gateways", key formats.
func compileSecret(o *config.Object, _ scope, d *diag.List) *model.Secret {
	s, ok := o.Spec.(*core.Secret)
	if !ok {
		return nil
	}
	out := &model.Secret{
		Namespace: o.Namespace, Name: o.Name,
		Cert: either(s, "tls.crt", "cert"), Key: either(s, "tls.key", "key"), CA: either(s, "ca.crt", "cacert"), CRL: either(s, "ca.crl", "crl"),
	}
	if len(out.Cert) == 0 && len(out.Key) == 0 && len(out.CA) == 0 {
		return nil
	}
	if len(out.Cert) > 0 || len(out.Key) > 0 {
		leaf, err := checkPair(out.Cert, out.Key)
		if err != nil {
			d.Add(diag.BadCredential, "data", "certificate and key cannot be used: %v", err)
			return nil
		}
		out.KeyType, out.Names = leaf.PublicKeyAlgorithm.String(), namesOf(leaf)
	}
	if len(out.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(out.CA) {
		d.Add(diag.BadCredential, "data", "the CA bundle holds no PEM certificate")
		return nil
	}
	if err := checkRevoked(out.CRL, len(out.CA) > 0); err != nil {
		d.Add(diag.BadCredential, "data", "the list of revoked certificates cannot be used: %v", err)
		return nil
	}
	return out
}

// checkRevoked reports what makes a list of revoked certificates useless.
func checkRevoked(list []byte, hasCA bool) error {
	if len(list) == 0 {
		return nil
	}
	if !hasCA {
		return errors.New("there is no CA bundle beside it")
	}
	block, _ := pem.Decode(list)
	if block == nil {
		return errors.New("it is not PEM")
	}
	_, err := x509.ParseRevocationList(block.Bytes)
	return err
}

// minRSA is the least key that Envoy takes, in bits.
const minRSA = 2048

// checkPair reports what makes Envoy 1.40 refuse a server's certificate, as
// envoy --mode validate showed.
func checkPair(cert, key []byte) (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	leaf := pair.Leaf
	if leaf.Subject.CommonName == "" && len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.URIs)+len(leaf.EmailAddresses) == 0 {
		return nil, errors.New("the certificate has neither a common name nor a subject alternative name")
	}
	switch k := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return nil, fmt.Errorf("the RSA key has %d bits, at least %d are needed", k.N.BitLen(), minRSA)
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return nil, errors.New("keys on the curve P-224 are not supported")
		}
	}
	return leaf, nil
}

// namesOf are the names by which Envoy chooses among a server's certificates:
// those of its DNS, else its common name.
func namesOf(leaf *x509.Certificate) []string {
	if len(leaf.DNSNames) == 0 && leaf.Subject.CommonName != "" {
		return []string{leaf.Subject.CommonName}
	}
	names := slices.Clone(leaf.DNSNames)
	slices.Sort(names)
	return names
}

func either(s *core.Secret, names ...string) []byte {
	for _, name := range names {
		if v := s.Data[name]; len(v) > 0 {
			return v
		}
		if v := s.StringData[name]; v != "" {
			return []byte(v)
		}
	}
	return nil
}
