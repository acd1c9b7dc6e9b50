package translate

import (
	"cmp"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
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
			GrpcServices: []*core.GrpcService{grpcService("sds-grpc", "")},
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
		TlsParams: &tls.TlsParameters{
			TlsMinimumProtocolVersion: version(b.Defaults.MeshTLS.MinVersion, tls.TlsParameters_TLSv1_2), TlsMaximumProtocolVersion: tls.TlsParameters_TLSv1_3,
			CipherSuites: b.Defaults.MeshTLS.Ciphers,
		},
		TlsCertificateSdsSecretConfigs: []*tls.SdsSecretConfig{b.fromAgent("default")},
		ValidationContextType: &tls.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tls.CertificateValidationContext{MatchTypedSubjectAltNames: sans},
			ValidationContextSdsSecretConfig: b.fromAgent("ROOTCA"),
		}},
	}
}

// anyPeer accepts every identity of the trust domain and of its aliases.
func (b *builder) anyPeer() (out []*tls.SubjectAltNameMatcher) {
	for _, td := range b.trustDomains() {
		out = append(out, uriName(&matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: "spiffe://" + td + "/"}}))
	}
	return out
}

func (b *builder) trustDomains() []string {
	return append([]string{b.TrustDomain}, b.TrustAliases...)
}

// withAliases adds to identities of the trust domain those of its aliases, which
// count as the same (Istio, MeshConfig.trustDomainAliases).
func (b *builder) withAliases(identities []string) (all []string) {
	if len(b.TrustAliases) == 0 {
		return identities
	}
	for _, id := range identities {
		rest, own := strings.CutPrefix(id, "spiffe://"+b.TrustDomain+"/")
		if all = append(all, id); !own {
			continue
		}
		for _, td := range b.TrustAliases {
			all = append(all, "spiffe://"+td+"/"+rest)
		}
	}
	return all
}

func uriName(m *matcher.StringMatcher) *tls.SubjectAltNameMatcher {
	return &tls.SubjectAltNameMatcher{SanType: tls.SubjectAltNameMatcher_URI, Matcher: m}
}

func exactly(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: s}}
}

func (b *builder) socket(context validated) *core.TransportSocket {
	return socketOf(b.pack(context))
}

func socketOf(config *anypb.Any) *core.TransportSocket {
	return &core.TransportSocket{Name: tlsSocket, ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: config}}
}

// meshServer terminates mesh mTLS and requires a certificate.
func (b *builder) meshServer() *core.TransportSocket {
	return b.socket(&tls.DownstreamTlsContext{CommonTlsContext: b.meshContext(b.anyPeer()), RequireClientCertificate: wrapperspb.Bool(true)})
}

// meshClient opens mesh mTLS.
func (b *builder) meshClient(c *model.Cluster, identities []string) *core.TransportSocket {
	b.check(&tls.UpstreamTlsContext{Sni: c.SNI})
	var e encoder
	b.meshUpstream(&e, c.SNI, identities)
	return socketOf(&anypb.Any{TypeUrl: upstreamTLS, Value: e.bytes})
}

// Fields of Envoy's messages.
const (
	upstreamCommon, upstreamSNI, commonCombined, combinedDefault = 1, 2, 8, 1
	validatedNames, altNameType, altNameMatcher, matcherExact    = 15, 1, 2, 1
)

const (
	upstreamTLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	longestSNI  = 255 // Envoy's bound, in bytes
)

// meshUpstream writes how mesh mTLS is opened to peers with one of these
// identities, or any of the trust domain. It offers no ALPN of its own: Envoy
// then offers that of the connection pool's protocol, which the server's codec
// follows.
// Source: envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext.
func (b *builder) meshUpstream(e *encoder, sni string, identities []string) {
	start, kind := len(e.bytes), meshOfAnyone
	if len(identities) > 0 {
		kind = meshOfNamed
		e.within(upstreamCommon, func() {
			e.within(commonCombined, func() { e.within(combinedDefault, func() { e.altNames(b.withAliases(identities)) }) })
		})
	}
	e.text(upstreamSNI, sni)
	common, ok := b.trunks[kind]
	if !ok {
		context := b.meshContext(nil)
		if kind == meshOfAnyone {
			context = b.meshContext(b.anyPeer())
		}
		common = trunk(b, e.bytes[start:], kind, &tls.UpstreamTlsContext{CommonTlsContext: context})
	}
	e.bytes = append(e.bytes, common...)
}

// altNames adds to a CertificateValidationContext what alternativeNames makes.
func (e *encoder) altNames(sans []string) {
	for _, san := range sans {
		e.within(validatedNames, func() {
			e.number(altNameType, uint64(altNameTypeOf(san)))
			e.within(altNameMatcher, func() { e.text(matcherExact, san) })
		})
	}
}

func altNameTypeOf(san string) tls.SubjectAltNameMatcher_SanType {
	if strings.Contains(san, "://") {
		return tls.SubjectAltNameMatcher_URI
	}
	return tls.SubjectAltNameMatcher_DNS
}

// ownClient opens TLS as a DestinationRule says, with files of the pod or a
// credential. Source: istio.io/api networking/v1alpha3, ClientTLSSettings.
func (b *builder) ownClient(c *model.Cluster, t *model.ClientTLS) *core.TransportSocket {
	common := &tls.CommonTlsContext{TlsParams: b.clientBounds()}
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
func (b *builder) gatewayServer(t *model.ServerTLS, http bool) *core.TransportSocket {
	if t.Mode == model.ServerMesh {
		return b.meshGateway(t, http)
	}
	common := &tls.CommonTlsContext{
		TlsParams:     b.serverBounds(t),
		AlpnProtocols: []string{"h2", "http/1.1"},
	}
	for _, name := range t.Credentials {
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, b.fromPilot(secretName(name)))
	}
	for _, f := range t.Files {
		common.TlsCertificates = append(common.TlsCertificates, fileCertificate(f.Cert, f.Key))
	}
	if t.Mode.ChecksClients() {
		b.checkClients(common, t)
	}
	return b.socket(&tls.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(t.Mode == model.ServerMutual)})
}

// serverBounds are a server's own over the mesh's, each by itself.
func (b *builder) serverBounds(t *model.ServerTLS) *tls.TlsParameters {
	mesh := b.Defaults.TLS
	out := &tls.TlsParameters{
		TlsMinimumProtocolVersion: version(cmp.Or(t.MinVersion, mesh.MinVersion), tls.TlsParameters_TLSv1_2),
		TlsMaximumProtocolVersion: version(t.MaxVersion, tls.TlsParameters_TLS_AUTO), CipherSuites: t.Ciphers, EcdhCurves: mesh.Curves,
	}
	if len(out.GetCipherSuites()) == 0 {
		out.CipherSuites = mesh.Ciphers
	}
	if most := out.GetTlsMaximumProtocolVersion(); most != tls.TlsParameters_TLS_AUTO {
		out.TlsMinimumProtocolVersion = min(out.GetTlsMinimumProtocolVersion(), most)
	}
	return out
}

// clientBounds are those of TLS to servers outside of the mesh; nil: Envoy's.
// As in Istio the least version is none of them: such servers may lack it.
func (b *builder) clientBounds() *tls.TlsParameters {
	mesh := b.Defaults.TLS
	if len(mesh.Ciphers) == 0 && len(mesh.Curves) == 0 {
		return nil
	}
	return &tls.TlsParameters{CipherSuites: mesh.Ciphers, EcdhCurves: mesh.Curves}
}

// checkClients verifies the certificates of a gateway's clients.
func (b *builder) checkClients(common *tls.CommonTlsContext, t *model.ServerTLS) {
	checks := &tls.CertificateValidationContext{
		MatchTypedSubjectAltNames: alternativeNames(t.SANs), VerifyCertificateSpki: t.SPKIs, VerifyCertificateHash: t.Hashes,
	}
	if t.AnyClient {
		checks.TrustChainVerification = tls.CertificateValidationContext_ACCEPT_UNTRUSTED
	}
	if key := t.CACredentialKey(); key != "" {
		common.ValidationContextType = combined(checks, b.fromPilot(secretName(key)+caSuffix))
		return
	}
	checks.TrustedCa = file(t.CA)
	if t.CRL != "" {
		checks.Crl = file(t.CRL)
	}
	common.ValidationContextType = &tls.CommonTlsContext_ValidationContext{ValidationContext: checks}
}

// meshGateway terminates mesh mTLS at a gateway's server: ISTIO_MUTUAL.
func (b *builder) meshGateway(t *model.ServerTLS, http bool) *core.TransportSocket {
	sans := alternativeNames(t.SANs)
	if len(sans) == 0 {
		sans = b.anyPeer()
	}
	common := b.meshContext(sans)
	if http {
		common.AlpnProtocols = []string{"h2", "http/1.1"}
	}
	return b.socket(&tls.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(true)})
}

func alternativeNames(sans []string) (out []*tls.SubjectAltNameMatcher) {
	for _, san := range sans {
		out = append(out, &tls.SubjectAltNameMatcher{SanType: altNameTypeOf(san), Matcher: exactly(san)})
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
