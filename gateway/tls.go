package gateway

import (
	"slices"
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
		Cert: in.GetServerCertificate(), Key: in.GetPrivateKey(), CA: in.GetCaCertificates(), SANs: in.GetSubjectAltNames(),
		HTTPSRedirect: in.GetHttpsRedirect(), MinVersion: version(in.GetMinProtocolVersion()), MaxVersion: version(in.GetMaxProtocolVersion()),
		Ciphers: c.ciphers(in.GetCipherSuites(), at.Field("cipherSuites")),
	}
	switch in.GetMode() {
	case networking.ServerTLSSettings_PASSTHROUGH:
		return out, true
	case networking.ServerTLSSettings_SIMPLE:
		out.Mode = model.ServerSimple
	case networking.ServerTLSSettings_MUTUAL:
		out.Mode = model.ServerMutual
	default:
		c.d.Add(diag.NotSupported, at.Field("mode"), "%s is not supported yet; the server is left out", in.GetMode())
		return nil, false
	}
	if out.MinVersion != "" && out.MaxVersion != "" && out.MinVersion > out.MaxVersion {
		c.d.Add(diag.Invalid, at.Field("minProtocolVersion"), "it is above maxProtocolVersion")
		return nil, false
	}
	return out, c.certificates(in, out, at)
}

// redirectOnly reads the tls settings of a plaintext HTTP server: only
// httpsRedirect has a meaning there.
func (c *compiler) redirectOnly(in *networking.ServerTLSSettings, s *model.Server, at diag.Path) (*model.ServerTLS, bool) {
	if !s.Protocol.IsHTTP() || in.GetMode() != networking.ServerTLSSettings_PASSTHROUGH || in.GetServerCertificate() != "" || in.GetCredentialName() != "" {
		c.d.Add(diag.Invalid, at, "a server without TLS cannot have tls settings other than httpsRedirect; the server is left out")
		return nil, false
	}
	if !in.GetHttpsRedirect() {
		return nil, true
	}
	return &model.ServerTLS{HTTPSRedirect: true}, true
}

// certificates checks that the server has what its mode needs, from a Secret
// or from files.
func (c *compiler) certificates(in *networking.ServerTLSSettings, out *model.ServerTLS, at diag.Path) bool {
	if name := in.GetCredentialName(); name != "" {
		return c.credential(name, out, at.Field("credentialName"))
	}
	switch {
	case out.Cert == "" || out.Key == "":
		c.d.Add(diag.Invalid, at, "%s needs credentialName, or serverCertificate and privateKey", in.GetMode())
	case out.Mode == model.ServerMutual && out.CA == "":
		c.d.Add(diag.Invalid, at, "MUTUAL needs caCertificates to check clients against")
	default:
		return true
	}
	return false
}

// credential reads credentialName: a Secret in the namespace of the proxy that
// serves, wherever the Gateway is. The Gateway's namespace stands in the model
// until a view puts the proxy's in its place.
func (c *compiler) credential(name string, out *model.ServerTLS, at diag.Path) bool {
	if strings.Contains(name, "/") || strings.Contains(name, "://") {
		c.d.Add(diag.Invalid, at, "%q must be the name of a Secret in the proxy's namespace", name)
		return false
	}
	if out.Cert != "" || out.Key != "" {
		c.d.Add(diag.Invalid, at, "it stands beside serverCertificate; only one may be set; the Secret is in force")
		out.Cert, out.Key = "", ""
	}
	out.Credential = c.gateway.Namespace + "/" + name
	return true
}

// CheckCredentials reports to d the credentials of g that are missing in
// namespace, where its proxies are, or that lack what their server's mode
// needs. secret gives the credential "namespace/name", nil if there is none
// that can be used. A server without its credential stays: Envoy waits for the
// certificate and refuses connections until then, so that nothing is served in
// the clear.
func CheckCredentials(g *model.Gateway, namespace string, secret func(key string) *model.Secret, d *diag.List) {
	for i := range g.Servers {
		s := &g.Servers[i]
		if s.TLS == nil || s.TLS.Credential == "" {
			continue
		}
		_, name, _ := strings.Cut(s.TLS.Credential, "/")
		at := diag.Path("spec.servers").Index(s.Index).Field("tls.credentialName")
		checkCredential(namespace+"/"+name, s.TLS.Mode == model.ServerMutual, secret, at, d)
	}
}

func checkCredential(key string, mutual bool, secret func(key string) *model.Secret, at diag.Path, d *diag.List) {
	s, ca := secret(key), secret(key+"-cacert")
	switch {
	case s == nil || len(s.Cert) == 0:
		d.Add(diag.NotFound, at, "Secret %q with a usable certificate and key not found in the namespace of the gateway's pods; connections fail until it is there", key)
	case mutual && len(s.CA) == 0 && (ca == nil || len(ca.CA) == 0):
		d.Add(diag.BadCredential, at, "Secret %q has no ca.crt, and there is no Secret %q; MUTUAL connections fail until one is there", key, key+"-cacert")
	}
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

// knownCiphers are those that Envoy's BoringSSL takes for TLS up to 1.2.
var knownCiphers = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-PSK-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-PSK-AES128-CBC-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-PSK-AES256-CBC-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384",
	"AES128-SHA", "PSK-AES128-CBC-SHA", "AES256-SHA", "PSK-AES256-CBC-SHA", "DES-CBC3-SHA",
}

// ciphers keeps the suites that Envoy knows, each once: one unknown name would
// make it refuse the listener.
func (c *compiler) ciphers(in []string, at diag.Path) (out []string) {
	for i, name := range in {
		switch {
		case !slices.Contains(knownCiphers, name):
			c.d.Add(diag.Invalid, at.Index(i), "%q is no cipher suite of TLS 1.2 that Envoy knows; it is left out", name)
		case slices.Contains(out, name):
			c.d.Add(diag.Duplicate, at.Index(i), "%q stands twice", name)
		default:
			out = append(out, name)
		}
	}
	return out
}
