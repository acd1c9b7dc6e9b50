package simulate

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// show chooses the server's certificate for the client; it reports false where
// one has not come. Of several it is one of the server name's, and of these one
// with an elliptic curve if the client can read it.
// Source: Envoy, "TLS", certificate selection.
func (w *walk) show(c *tls.CommonTlsContext) bool {
	own := c.GetTlsCertificateSdsSecretConfigs()
	// Of a client that may speak TLS 1.3 Envoy looks at the signatures that it can
	// read, not at its cipher suites of TLS 1.2.
	bySuites := c.GetTlsParams().GetTlsMaximumProtocolVersion() == tls.TlsParameters_TLSv1_2
	best := -1
	for _, s := range own {
		if !w.config.comes(s) {
			return false
		}
		rank := 0
		if len(own) > 1 {
			rank = w.suits(w.config.secrets[s.GetName()].GetTlsCertificate(), bySuites)
		}
		if rank > best {
			best, w.out.Credential = rank, s.GetName()
		}
	}
	return true
}

// suits is higher for a certificate that suits the client better.
func (w *walk) suits(pair *tls.TlsCertificate, bySuites bool) (rank int) {
	block, _ := pem.Decode(pair.GetCertificateChain().GetInlineBytes())
	if block == nil {
		return 0
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return 0
	}
	ec := leaf.PublicKeyAlgorithm == x509.ECDSA
	onlyRSA := bySuites && len(w.call.TLS.Ciphers) > 0 && w.call.TLS.Version == "1.2" && !slices.ContainsFunc(w.call.TLS.Ciphers, func(c string) bool { return strings.Contains(c, "ECDSA") })
	if ec != onlyRSA {
		rank += 2
	}
	if leaf.VerifyHostname(w.call.TLS.SNI) == nil {
		rank += 4
	}
	if ec {
		rank++
	}
	return rank
}

// checkClient says why a client is refused for the certificate that it
// shows, or does not; "" if it is not.
func (w *walk) checkClient(context *tls.DownstreamTlsContext) (refusal string, err error) {
	client, common := w.call.TLS, context.GetCommonTlsContext()
	if client.Identity == "" {
		if context.GetRequireClientCertificate().GetValue() {
			return "no client certificate, where one is required", nil
		}
		return "", nil
	}
	checks := validation(common)
	if checks == nil {
		return "", nil
	}
	if checks.GetTrustChainVerification() == tls.CertificateValidationContext_ACCEPT_UNTRUSTED {
		return "", nil
	}
	crl := checks.GetCrl() != nil
	if s := common.GetCombinedValidationContext().GetValidationContextSdsSecretConfig(); s != nil {
		crl = crl || w.config.secrets[s.GetName()].GetValidationContext().GetCrl() != nil
	}
	pins := slices.Concat(checks.GetVerifyCertificateSpki(), checks.GetVerifyCertificateHash())
	switch {
	case client.Stranger:
		return "the client's certificate is not of a CA that is trusted", nil
	case client.Revoked && crl:
		return "the client's certificate is revoked", nil
	case len(pins) > 0 && !slices.Contains(pins, client.SPKI):
		return "the client's certificate is none of those that are pinned", nil
	}
	return w.clientName(checks.GetMatchTypedSubjectAltNames())
}

func (w *walk) clientName(sans []*tls.SubjectAltNameMatcher) (refusal string, err error) {
	kind := tls.SubjectAltNameMatcher_DNS
	if strings.Contains(w.call.TLS.Identity, "://") {
		kind = tls.SubjectAltNameMatcher_URI
	}
	for _, san := range sans {
		if san.GetSanType() != kind {
			continue
		}
		if matched, err := matchString(san.GetMatcher(), w.call.TLS.Identity); err != nil || matched {
			return "", err
		}
	}
	if len(sans) == 0 {
		return "", nil
	}
	return "the client's identity is not one of those that are let in", nil
}
