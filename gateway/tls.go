package gateway

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// tls reads server.tls; ok is false if the server cannot be served as meant.
//
// Source: istio.io/api networking/v1alpha3, message ServerTLSSettings.
func (c *compiler) tls(server *networking.Server, s *model.Server, at diag.Path) (out *model.ServerTLS, ok bool) {
	in := server.GetTls()
	if in == nil {
		if s.Protocol == model.ProtocolTLS {
			c.d.Add(diag.Invalid, at, "%s needs tls settings", server.GetPort().GetProtocol())
			return nil, false
		}
		return nil, true
	}
	if s.Protocol != model.ProtocolTLS {
		return c.redirectOnly(in, s, at)
	}
	out = &model.ServerTLS{
		HTTPSRedirect: in.GetHttpsRedirect(), MinVersion: version(in.GetMinProtocolVersion()), MaxVersion: version(in.GetMaxProtocolVersion()),
		Ciphers: c.ciphers(in.GetCipherSuites(), at.Field("cipherSuites")),
	}
	if out.MinVersion != "" && out.MaxVersion != "" && out.MinVersion > out.MaxVersion {
		c.d.Add(diag.Invalid, at.Field("minProtocolVersion"), "it is above maxProtocolVersion")
		return nil, false
	}
	switch in.GetMode() {
	case networking.ServerTLSSettings_PASSTHROUGH:
		c.unusedCertificates(in, at)
		return out, true
	case networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		out.Mode = model.ServerAutoPassthrough
		c.unusedCertificates(in, at)
		return out, c.autoPassthrough(s, at)
	case networking.ServerTLSSettings_ISTIO_MUTUAL:
		out.Mode, out.SANs = model.ServerMesh, in.GetSubjectAltNames()
		c.unusedCertificates(in, at)
		c.ownVersions(in, at)
		return out, true
	case networking.ServerTLSSettings_SIMPLE:
		out.Mode = model.ServerSimple
	case networking.ServerTLSSettings_MUTUAL:
		out.Mode = model.ServerMutual
	case networking.ServerTLSSettings_OPTIONAL_MUTUAL:
		out.Mode = model.ServerOptionalMutual
	default:
		c.d.Add(diag.Invalid, at.Field("mode"), "%d is no TLS mode; the server is left out", in.GetMode())
		return nil, false
	}
	return out, c.certificates(in, out, at) && c.clients(in, out, at)
}

// autoPassthrough: what is passed on is mesh mTLS, which is never HTTP to the
// gateway.
func (c *compiler) autoPassthrough(s *model.Server, at diag.Path) bool {
	if s.HTTPS {
		c.d.Add(diag.Invalid, at.Field("mode"), "AUTO_PASSTHROUGH needs port.protocol TLS, not HTTPS; the server is left out")
		return false
	}
	return true
}

// unusedCertificates reports settings of a mode that shows no certificate of
// its own, or the mesh's.
func (c *compiler) unusedCertificates(in *networking.ServerTLSSettings, at diag.Path) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"serverCertificate", in.GetServerCertificate() != ""}, {"privateKey", in.GetPrivateKey() != ""}, {"caCertificates", in.GetCaCertificates() != ""},
		{"caCrl", in.GetCaCrl() != ""}, {"credentialName", in.GetCredentialName() != ""}, {"credentialNames", len(in.GetCredentialNames()) > 0},
		{"caCertCredentialName", in.GetCaCertCredentialName() != ""}, {"tlsCertificates", len(in.GetTlsCertificates()) > 0},
		{"verifyCertificateSpki", len(in.GetVerifyCertificateSpki()) > 0}, {"verifyCertificateHash", len(in.GetVerifyCertificateHash()) > 0},
		{"insecureSkipVerify", in.GetInsecureSkipVerify().GetValue()},
		{"subjectAltNames", len(in.GetSubjectAltNames()) > 0 && in.GetMode() != networking.ServerTLSSettings_ISTIO_MUTUAL},
	} {
		if f.set {
			c.d.Add(diag.NoEffect, at.Field(f.name), "%s uses no certificate of its own", in.GetMode())
		}
	}
}

// ownVersions reports what mesh mTLS has of its own.
func (c *compiler) ownVersions(in *networking.ServerTLSSettings, at diag.Path) {
	if in.GetMinProtocolVersion() != 0 || in.GetMaxProtocolVersion() != 0 || len(in.GetCipherSuites()) > 0 {
		c.d.Add(diag.NoEffect, at, "versions and cipher suites of ISTIO_MUTUAL are those of the mesh")
	}
}

// redirectOnly reads the tls settings of a plaintext HTTP server: only
// httpsRedirect has a meaning there.
func (c *compiler) redirectOnly(in *networking.ServerTLSSettings, s *model.Server, at diag.Path) (*model.ServerTLS, bool) {
	if !s.Protocol.IsHTTP() || in.GetMode() != networking.ServerTLSSettings_PASSTHROUGH || in.GetServerCertificate() != "" || in.GetPrivateKey() != "" ||
		in.GetCaCertificates() != "" || in.GetCredentialName() != "" || len(in.GetCredentialNames())+len(in.GetTlsCertificates()) > 0 {
		c.d.Add(diag.Invalid, at, "a server without TLS cannot have tls settings other than httpsRedirect; the server is left out")
		return nil, false
	}
	if !in.GetHttpsRedirect() {
		return nil, true
	}
	return &model.ServerTLS{HTTPSRedirect: true}, true
}

// CheckCredentials reports to d the credentials of g that are missing in
// namespace, where its proxies are, or that lack what their server's mode
// needs. secret gives the credential "namespace/name", nil if there is none
// that can be used. A server without its credential stays: Envoy waits for the
// certificate and refuses connections until then, so that nothing is served in
// the clear.
func CheckCredentials(g *model.Gateway, namespace string, secret func(key string) *model.Secret, d *diag.List) {
	own := func(key string) (string, *model.Secret) {
		_, name, _ := strings.Cut(key, "/")
		return namespace + "/" + name, secret(namespace + "/" + name)
	}
	for i := range g.Servers {
		s := &g.Servers[i]
		if s.TLS == nil || len(s.TLS.Credentials) == 0 {
			continue
		}
		at := diag.Path("spec.servers").Index(s.Index).Field("tls")
		checkPairs(s.TLS, at, own, d)
		if s.TLS.Mode.ChecksClients() {
			checkCA(s.TLS, at, own, d)
		}
	}
}

func checkPairs(t *model.ServerTLS, at diag.Path, own func(string) (string, *model.Secret), d *diag.List) {
	var usable []*model.Secret
	for i, name := range t.Credentials {
		at := at.Field("credentialName")
		if len(t.Credentials) > 1 {
			at = at[:len(at)-len("credentialName")] + diag.Path("credentialNames").Index(i)
		}
		key, s := own(name)
		if s == nil || len(s.Cert) == 0 {
			d.Add(diag.NotFound, at, "Secret %q with a usable certificate and key not found in the namespace of the gateway's pods; connections fail until it is there", key)
			continue
		}
		for _, first := range usable {
			if first.Clashes(s) {
				d.Add(diag.Duplicate, at, "Secret %q has a %s key for the same name as Secret %q, which is in force: several certificates of a server must differ in the kind of their keys or in their names", key, s.KeyType, first.Namespace+"/"+first.Name)
			}
		}
		usable = append(usable, s)
	}
}

func checkCA(t *model.ServerTLS, at diag.Path, own func(string) (string, *model.Secret), d *diag.List) {
	key, s := own(t.CACredentialKey())
	if t.CACredential != "" {
		if s == nil || len(s.CA) == 0 {
			d.Add(diag.NotFound, at.Field("caCertCredentialName"), "Secret %q with a usable ca.crt not found in the namespace of the gateway's pods; connections fail until it is there", key)
		}
		return
	}
	if s == nil || len(s.CA) > 0 {
		return // a Secret that is missing has been reported
	}
	if _, ca := own(t.CACredentialKey() + "-cacert"); ca == nil || len(ca.CA) == 0 {
		d.Add(diag.BadCredential, at.Field("credentialName"), "Secret %q has no ca.crt, and there is no Secret %q; %s connections fail until one is there", key, key+"-cacert", modeName(t.Mode))
	}
}

func modeName(m model.ServerTLSMode) string {
	if m == model.ServerOptionalMutual {
		return "OPTIONAL_MUTUAL"
	}
	return "MUTUAL"
}

func version(v networking.ServerTLSSettings_TLSProtocol) string {
	switch v {
	case networking.ServerTLSSettings_TLSV1_0:
		return "1.0"
	case networking.ServerTLSSettings_TLSV1_1:
		return "1.1"
	case networking.ServerTLSSettings_TLSV1_2:
		return "1.2"
	case networking.ServerTLSSettings_TLSV1_3:
		return "1.3"
	}
	return ""
}
