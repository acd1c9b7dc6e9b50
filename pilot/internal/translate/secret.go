package translate

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/model"
)

// caSuffix marks the bundle by which a credential's peers are checked.
const caSuffix = "-cacert"

// secretName is the name of a credential "namespace/name" in SDS, as Istio's.
func secretName(credential string) string { return "kubernetes://" + credential }

// secret renders a credential's certificate and key.
// Source: envoy.extensions.transport_sockets.tls.v3.Secret.
func (b *builder) secret(s *model.Secret) message {
	if len(s.Cert) == 0 {
		return message{}
	}
	name := secretName(s.Namespace + "/" + s.Name)
	return message{name: name, body: &tls.Secret{Name: name, Type: &tls.Secret_TlsCertificate{TlsCertificate: &tls.TlsCertificate{
		CertificateChain: inlineBytes(s.Cert), PrivateKey: inlineBytes(s.Key),
	}}}, sources: []string{"Secret/" + s.Namespace + "/" + s.Name}}
}

// secretCA renders the bundle by which a credential's peers are checked.
func (b *builder) secretCA(s *model.Secret) message {
	if len(s.CA) == 0 {
		return message{}
	}
	name := secretName(s.Namespace+"/"+s.Name) + caSuffix
	return message{name: name, body: &tls.Secret{Name: name, Type: &tls.Secret_ValidationContext{ValidationContext: &tls.CertificateValidationContext{
		TrustedCa: inlineBytes(s.CA), Crl: revoked(s.CRL),
	}}}, sources: []string{"Secret/" + s.Namespace + "/" + s.Name}}
}

func revoked(list []byte) *core.DataSource {
	if len(list) == 0 {
		return nil
	}
	return inlineBytes(list)
}

func inlineBytes(body []byte) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: body}}
}
