package envoy

import (
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyprotocol "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// sockets are the transport sockets of a listener or a cluster.
func sockets(m any) (all []*core.TransportSocket) {
	switch m := m.(type) {
	case *listener.Listener:
		for _, c := range m.GetFilterChains() {
			all = append(all, c.GetTransportSocket())
		}
	case *cluster.Cluster:
		all = append(all, m.GetTransportSocket())
		for _, match := range m.GetTransportSocketMatches() {
			all = append(all, match.GetTransportSocket())
		}
	}
	return all
}

// ownFiles puts the harness's own certificates in place of those that a
// configuration names by files of the pod.
func (p *pki) ownFiles(m any) error {
	for _, s := range sockets(m) {
		if err := p.ownFilesOf(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *pki) ownFilesOf(s *core.TransportSocket) error {
	if s.GetTypedConfig() == nil {
		return nil
	}
	config, err := s.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return err
	}
	switch config := config.(type) {
	case *proxyprotocol.ProxyProtocolUpstreamTransport:
		err = p.ownFilesOf(config.GetTransportSocket())
	case interface{ GetCommonTlsContext() *tls.CommonTlsContext }:
		err = p.inPlaceOfFiles(config.GetCommonTlsContext())
	}
	if err != nil {
		return err
	}
	packed, err := anypb.New(config)
	s.ConfigType = &core.TransportSocket_TypedConfig{TypedConfig: packed}
	return err
}

// systemCAs is where a proxy's image has the public CAs.
const systemCAs = "/etc/ssl/certs/ca-certificates.crt"

func (p *pki) inPlaceOfFiles(c *tls.CommonTlsContext) error {
	for i, pair := range c.GetTlsCertificates() {
		switch name := pair.GetCertificateChain().GetFilename(); {
		case strings.Contains(name, rsaName):
			own, err := p.rsa()
			if err != nil {
				return err
			}
			c.TlsCertificates[i] = pairOf(own)
		case name != "":
			c.TlsCertificates[i] = p.secret("").GetTlsCertificate()
		}
	}
	p.trust(c.GetValidationContext())
	return nil
}

// trust puts the harness's CAs, and its list of revoked certificates, in place
// of those that a configuration names by files.
func (p *pki) trust(checks *tls.CertificateValidationContext) {
	switch checks.GetTrustedCa().GetFilename() {
	case "":
	case systemCAs:
		checks.TrustedCa = p.public.bundle()
	default:
		checks.TrustedCa = p.bundle()
	}
	if checks.GetCrl() != nil {
		checks.Crl = inlineBytes(pemOf("X509 CRL", p.crl))
	}
}
