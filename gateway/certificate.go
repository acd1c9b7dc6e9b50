package gateway

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// certificates reads what the server shows: Secrets, or files of the pod.
func (c *compiler) certificates(in *networking.ServerTLSSettings, out *model.ServerTLS, at diag.Path) bool {
	c.oneSource(in, at)
	switch {
	case in.GetCredentialName() != "":
		return c.credential(in.GetCredentialName(), out, at.Field("credentialName"))
	case len(in.GetCredentialNames()) > 0:
		for i, name := range in.GetCredentialNames() {
			if !c.credential(name, out, at.Field("credentialNames").Index(i)) {
				return false
			}
		}
		return true
	}
	files := []model.CertificateFiles{{Cert: in.GetServerCertificate(), Key: in.GetPrivateKey()}}
	if len(in.GetTlsCertificates()) > 0 {
		files = nil
		for _, f := range in.GetTlsCertificates() {
			files = append(files, model.CertificateFiles{Cert: f.GetServerCertificate(), Key: f.GetPrivateKey()})
		}
	}
	for i, f := range files {
		at := at
		if len(in.GetTlsCertificates()) > 0 {
			at = at.Field("tlsCertificates").Index(i)
		}
		if f.Cert == "" || f.Key == "" {
			c.d.Add(diag.Invalid, at, "%s needs credentialName, credentialNames, or serverCertificate and privateKey; the server is left out", in.GetMode())
			return false
		}
		if !slices.Contains(out.Files, f) {
			out.Files = append(out.Files, f)
		}
	}
	return true
}

// oneSource reports certificates that stand beside others: credentialName goes
// first, then credentialNames, then tlsCertificates.
func (c *compiler) oneSource(in *networking.ServerTLSSettings, at diag.Path) {
	first := ""
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"credentialName", in.GetCredentialName() != ""}, {"credentialNames", len(in.GetCredentialNames()) > 0},
		{"tlsCertificates", len(in.GetTlsCertificates()) > 0}, {"serverCertificate", in.GetServerCertificate() != "" || in.GetPrivateKey() != ""},
	} {
		switch {
		case f.set && first != "":
			c.d.Add(diag.Invalid, at.Field(f.name), "it stands beside %s; only one may be set; %s is in force", first, first)
		case f.set:
			first = f.name
		}
	}
}

// credential reads the name of a Secret in the namespace of the proxy that
// serves, wherever the Gateway is. The Gateway's namespace stands in the model
// until a view puts the proxy's in its place.
func (c *compiler) credential(name string, out *model.ServerTLS, at diag.Path) bool {
	if !c.secretName(name, at) {
		return false
	}
	key := c.gateway.Namespace + "/" + name
	if slices.Contains(out.Credentials, key) {
		c.d.Add(diag.Duplicate, at, "Secret %q stands twice", name)
		return true
	}
	out.Credentials = append(out.Credentials, key)
	return true
}

func (c *compiler) secretName(name string, at diag.Path) bool {
	if name == "" || strings.Contains(name, "/") {
		c.d.Add(diag.Invalid, at, "%q must be the name of a Secret in the proxy's namespace; the server is left out", name)
		return false
	}
	return true
}

// clients reads how clients' certificates are checked. A pin that cannot be
// read is left out, but where none is left the server is: it would let in more
// than was meant.
func (c *compiler) clients(in *networking.ServerTLSSettings, out *model.ServerTLS, at diag.Path) bool {
	if !out.Mode.ChecksClients() {
		c.unchecked(in, at)
		return true
	}
	out.SANs, out.AnyClient = in.GetSubjectAltNames(), in.GetInsecureSkipVerify().GetValue()
	if out.AnyClient {
		c.d.Add(diag.AnyClient, at.Field("insecureSkipVerify"), "a client whose certificate cannot be verified is let in")
	}
	out.SPKIs = c.pins(in.GetVerifyCertificateSpki(), at.Field("verifyCertificateSpki"), isSPKI, "the base64 of a SHA-256 (44 characters)")
	out.Hashes = c.pins(in.GetVerifyCertificateHash(), at.Field("verifyCertificateHash"), isHash, "the hex of a SHA-256, with or without colons")
	if pins := len(in.GetVerifyCertificateSpki()) + len(in.GetVerifyCertificateHash()); pins > 0 && len(out.SPKIs)+len(out.Hashes) == 0 {
		c.d.Add(diag.Invalid, at, "none of the pinned certificates can be read; the server is left out")
		return false
	}
	return c.authority(in, out, at)
}

// authority reads whom clients' certificates must be signed by.
func (c *compiler) authority(in *networking.ServerTLSSettings, out *model.ServerTLS, at diag.Path) bool {
	fromSecrets := len(out.Credentials) > 0
	switch name := in.GetCaCertCredentialName(); {
	case name != "" && !c.secretName(name, at.Field("caCertCredentialName")):
		return false
	case name != "":
		out.CACredential = c.gateway.Namespace + "/" + name
	case !fromSecrets && in.GetCaCertificates() == "":
		c.d.Add(diag.Invalid, at, "%s needs caCertificates or caCertCredentialName to check clients against; the server is left out", in.GetMode())
		return false
	}
	if fromSecrets || out.CACredential != "" {
		if in.GetCaCertificates() != "" {
			c.d.Add(diag.NoEffect, at.Field("caCertificates"), "the CA is that of the Secret")
		}
		if in.GetCaCrl() != "" {
			c.d.Add(diag.NoEffect, at.Field("caCrl"), "the list of revoked certificates belongs into the Secret, as ca.crl")
		}
		return true
	}
	out.CA, out.CRL = in.GetCaCertificates(), in.GetCaCrl()
	return true
}

// unchecked reports settings about clients' certificates in a mode that asks
// for none.
func (c *compiler) unchecked(in *networking.ServerTLSSettings, at diag.Path) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"caCertificates", in.GetCaCertificates() != ""}, {"caCrl", in.GetCaCrl() != ""}, {"caCertCredentialName", in.GetCaCertCredentialName() != ""},
		{"subjectAltNames", len(in.GetSubjectAltNames()) > 0}, {"verifyCertificateSpki", len(in.GetVerifyCertificateSpki()) > 0},
		{"verifyCertificateHash", len(in.GetVerifyCertificateHash()) > 0}, {"insecureSkipVerify", in.GetInsecureSkipVerify().GetValue()},
	} {
		if f.set {
			c.d.Add(diag.NoEffect, at.Field(f.name), "%s asks clients for no certificate; MUTUAL and OPTIONAL_MUTUAL do", in.GetMode())
		}
	}
}

// pins keeps those that Envoy can read, each once.
func (c *compiler) pins(in []string, at diag.Path, valid func(string) bool, what string) (out []string) {
	for i, pin := range in {
		switch {
		case !valid(pin):
			c.d.Add(diag.Invalid, at.Index(i), "%q is not %s; it is left out", pin, what)
		case slices.Contains(out, pin):
			c.d.Add(diag.Duplicate, at.Index(i), "%q stands twice", pin)
		default:
			out = append(out, pin)
		}
	}
	return out
}

// digest is the length of a SHA-256 in bytes.
const digest = 32

func isSPKI(pin string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(pin)
	return err == nil && len(b) == digest && len(pin) == 44
}

// isHash takes "ab12..." and "AB:12:...", as Envoy does.
func isHash(pin string) bool {
	parts := strings.Split(pin, ":")
	if len(parts) == 1 {
		b, err := hex.DecodeString(pin)
		return err == nil && len(b) == digest
	}
	for _, p := range parts {
		if b, err := hex.DecodeString(p); err != nil || len(b) != 1 {
			return false
		}
	}
	return len(parts) == digest
}

// knownCiphers are those that Envoy's BoringSSL takes for TLS up to 1.2.
var knownCiphers = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-PSK-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-PSK-AES128-CBC-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-PSK-AES256-CBC-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384",
	"AES128-SHA", "PSK-AES128-CBC-SHA", "AES256-SHA", "PSK-AES256-CBC-SHA", "DES-CBC3-SHA",
}

// ciphers keeps the suites that Envoy knows, each once: one unknown name would
// make it refuse the listener.
func (c *compiler) ciphers(in []string, at diag.Path) []string { return Ciphers(in, at, c.d) }

// Ciphers are those cipher suites of in that Envoy knows, by OpenSSL's names;
// the others are reported to d.
func Ciphers(in []string, at diag.Path, d *diag.List) (out []string) {
	for i, name := range in {
		switch {
		case !slices.Contains(knownCiphers, name):
			d.Add(diag.Invalid, at.Index(i), "%q is no cipher suite of TLS 1.2 that Envoy knows; it is left out", name)
		case slices.Contains(out, name):
			d.Add(diag.Duplicate, at.Index(i), "%q stands twice", name)
		default:
			out = append(out, name)
		}
	}
	return out
}
