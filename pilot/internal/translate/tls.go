package translate

import (
	"cmp"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

const tlsSocket = "envoy.transport_sockets.tls"

// fromAgent asks the agent in the pod for a secret ("default", "ROOTCA") by
// the static cluster of its Unix socket. Without it nothing starts: never
// without certificates. An Envoy that has proven no identity may have no agent:
// it goes on without, and its TLS connections fail.
func (b *builder) fromAgent(name string) *tls.SdsSecretConfig {
	return &tls.SdsSecretConfig{Name: name, SdsConfig: &core.ConfigSource{
		ResourceApiVersion:  core.ApiVersion_V3,
		InitialFetchTimeout: b.patience(),
		ConfigSourceSpecifier: &core.ConfigSource_ApiConfigSource{ApiConfigSource: &core.ApiConfigSource{
			ApiType: core.ApiConfigSource_GRPC, TransportApiVersion: core.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*core.GrpcService{{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: "sds-grpc"}}}},
		}},
	}}
}

// fromPilot asks the pilot for a gateway's credential.
func (b *builder) fromPilot(name string) *tls.SdsSecretConfig {
	source := ads()
	source.InitialFetchTimeout = b.patience()
	return &tls.SdsSecretConfig{Name: name, SdsConfig: source}
}

// patience is how long to wait for a secret: 0 is for ever.
func (b *builder) patience() *durationpb.Duration {
	if b.class.Bare {
		return durationpb.New(time.Second)
	}
	return durationpb.New(0)
}

// ads is the stream that everything else comes by.
func ads() *core.ConfigSource {
	return &core.ConfigSource{
		ResourceApiVersion: core.ApiVersion_V3, InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
	}
}

// meshContext is the mesh's own mTLS, of both sides: this proxy's certificate,
// and a peer that the mesh's CA signed with one of the names in sans.
func (b *builder) meshContext(sans []*tls.SubjectAltNameMatcher) *tls.CommonTlsContext {
	return &tls.CommonTlsContext{
		TlsParams:                      &tls.TlsParameters{TlsMinimumProtocolVersion: tls.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tls.TlsParameters_TLSv1_3},
		TlsCertificateSdsSecretConfigs: []*tls.SdsSecretConfig{b.fromAgent("default")},
		ValidationContextType: &tls.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tls.CertificateValidationContext{MatchTypedSubjectAltNames: sans},
			ValidationContextSdsSecretConfig: b.fromAgent("ROOTCA"),
		}},
	}
}

// anyPeer accepts every identity of the trust domain.
func (b *builder) anyPeer() []*tls.SubjectAltNameMatcher {
	return []*tls.SubjectAltNameMatcher{uriName(&matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: "spiffe://" + b.TrustDomain + "/"}})}
}

// peers accepts these identities, or every one of the trust domain.
func (b *builder) peers(identities []string) (out []*tls.SubjectAltNameMatcher) {
	for _, id := range identities {
		out = append(out, uriName(exactly(id)))
	}
	if len(out) == 0 {
		return b.anyPeer()
	}
	return out
}

func uriName(m *matcher.StringMatcher) *tls.SubjectAltNameMatcher {
	return &tls.SubjectAltNameMatcher{SanType: tls.SubjectAltNameMatcher_URI, Matcher: m}
}

func exactly(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: s}}
}

func (b *builder) socket(context validated) *core.TransportSocket {
	return &core.TransportSocket{Name: tlsSocket, ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: b.pack(context)}}
}

// meshServer terminates mesh mTLS and requires a certificate.
func (b *builder) meshServer() *core.TransportSocket {
	return b.socket(&tls.DownstreamTlsContext{CommonTlsContext: b.meshContext(b.anyPeer()), RequireClientCertificate: wrapperspb.Bool(true)})
}

// meshClient opens mesh mTLS. It offers no ALPN of its own: Envoy then offers
// that of the connection pool's protocol, which the server's codec follows.
func (b *builder) meshClient(c *model.Cluster, identities []string) *core.TransportSocket {
	return b.socket(&tls.UpstreamTlsContext{CommonTlsContext: b.meshContext(b.peers(identities)), Sni: c.SNI})
}

// ownClient opens TLS as a DestinationRule says, with files of the pod or a
// credential. Source: istio.io/api networking/v1alpha3, ClientTLSSettings.
func (b *builder) ownClient(c *model.Cluster, t *model.ClientTLS) *core.TransportSocket {
	common := &tls.CommonTlsContext{}
	switch {
	case t.Lacking:
		common.TlsCertificateSdsSecretConfigs = []*tls.SdsSecretConfig{b.fromPilot(noSecret)}
	case t.Mode != model.TLSMutual:
	case t.Credential != "":
		common.TlsCertificateSdsSecretConfigs = []*tls.SdsSecretConfig{b.fromPilot(secretName(t.Credential))}
	default:
		common.TlsCertificates = []*tls.TlsCertificate{fileCertificate(t.Cert, t.Key)}
	}
	b.checkServer(common, t)
	if c.Port.Protocol.IsHTTP2() {
		common.AlpnProtocols = []string{"h2"}
	}
	return b.socket(&tls.UpstreamTlsContext{CommonTlsContext: common, Sni: t.SNI})
}

// checkServer verifies the server's certificate.
func (b *builder) checkServer(common *tls.CommonTlsContext, t *model.ClientTLS) {
	checks := &tls.CertificateValidationContext{MatchTypedSubjectAltNames: alternativeNames(t.SANs)}
	switch {
	case t.InsecureSkipVerify:
	case t.Credential != "":
		common.ValidationContextType = combined(checks, b.fromPilot(secretName(t.Credential)+caSuffix))
	default:
		checks.TrustedCa = file(cmp.Or(t.CA, systemCAs))
		if t.CRL != "" {
			checks.Crl = file(t.CRL)
		}
		common.ValidationContextType = &tls.CommonTlsContext_ValidationContext{ValidationContext: checks}
	}
}

// noSecret is the name of no secret: a cluster that asks for it is there, and
// its connections fail with the flag UF and the reason that Envoy gives, "Secret
// is not supplied by SDS". In clear text, or unchecked, it must not go.
const noSecret = "kubernetes://"

// systemCAs is Debian's and Alpine's bundle of public CAs.
const systemCAs = "/etc/ssl/certs/ca-certificates.crt"

func combined(checks *tls.CertificateValidationContext, ca *tls.SdsSecretConfig) *tls.CommonTlsContext_CombinedValidationContext {
	return &tls.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
		DefaultValidationContext: checks, ValidationContextSdsSecretConfig: ca,
	}}
}

func file(path string) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_Filename{Filename: path}}
}

func fileCertificate(cert, key string) *tls.TlsCertificate {
	return &tls.TlsCertificate{CertificateChain: file(cert), PrivateKey: file(key)}
}

// gatewayServer terminates TLS at a gateway.
// Source: istio.io/api networking/v1alpha3, ServerTLSSettings.
func (b *builder) gatewayServer(t *model.ServerTLS) *core.TransportSocket {
	if t.Mode == model.ServerMesh {
		return b.meshServer()
	}
	common := &tls.CommonTlsContext{
		TlsParams:     &tls.TlsParameters{TlsMinimumProtocolVersion: version(t.MinVersion, tls.TlsParameters_TLSv1_2), TlsMaximumProtocolVersion: version(t.MaxVersion, tls.TlsParameters_TLS_AUTO), CipherSuites: t.Ciphers},
		AlpnProtocols: []string{"h2", "http/1.1"},
	}
	if t.Credential != "" {
		common.TlsCertificateSdsSecretConfigs = []*tls.SdsSecretConfig{b.fromPilot(secretName(t.Credential))}
	} else {
		common.TlsCertificates = []*tls.TlsCertificate{fileCertificate(t.Cert, t.Key)}
	}
	if t.Mode == model.ServerMutual || t.Mode == model.ServerOptionalMutual {
		b.checkClients(common, t)
	}
	return b.socket(&tls.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(t.Mode == model.ServerMutual)})
}

// checkClients verifies the certificates of a gateway's clients.
func (b *builder) checkClients(common *tls.CommonTlsContext, t *model.ServerTLS) {
	checks := &tls.CertificateValidationContext{MatchTypedSubjectAltNames: alternativeNames(t.SANs)}
	if t.Credential != "" {
		common.ValidationContextType = combined(checks, b.fromPilot(secretName(t.Credential)+caSuffix))
		return
	}
	checks.TrustedCa = file(t.CA)
	common.ValidationContextType = &tls.CommonTlsContext_ValidationContext{ValidationContext: checks}
}

func alternativeNames(sans []string) (out []*tls.SubjectAltNameMatcher) {
	for _, san := range sans {
		m := &tls.SubjectAltNameMatcher{SanType: tls.SubjectAltNameMatcher_DNS, Matcher: exactly(san)}
		if strings.Contains(san, "://") {
			m = uriName(exactly(san))
		}
		out = append(out, m)
	}
	return out
}

func version(v string, otherwise tls.TlsParameters_TlsProtocol) tls.TlsParameters_TlsProtocol {
	switch v {
	case "1.0":
		return tls.TlsParameters_TLSv1_0
	case "1.1":
		return tls.TlsParameters_TLSv1_1
	case "1.2":
		return tls.TlsParameters_TLSv1_2
	case "1.3":
		return tls.TlsParameters_TLSv1_3
	default:
		return otherwise
	}
}
