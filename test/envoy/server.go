package envoy

import (
	stdtls "crypto/tls"

	"github.com/weftmesh/weft/internal/simulate"
)

// tlsConfig shows a certificate with the name that the endpoint's cluster asks
// for, unless a call says otherwise. It looks at the proxy's without judging
// who has signed it.
func (s *sniffer) tlsConfig() *stdtls.Config {
	manner := s.echoes.manner(s.at.endpoint)
	config := &stdtls.Config{
		MinVersion: stdtls.VersionTLS12, ClientAuth: stdtls.RequestClientCert, NextProtos: []string{"h2", "http/1.1", "weft-tcp"},
		GetCertificate: func(hello *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
			return s.certificate(manner, hello.ServerName)
		},
	}
	if manner.Demands {
		config.ClientAuth = stdtls.RequireAnyClientCert
		// In TLS 1.3 a client is told of it after it has sent its request.
		config.MaxVersion = stdtls.VersionTLS12
	}
	return config
}

func (s *sniffer) certificate(manner simulate.Upstream, serverName string) (*stdtls.Certificate, error) {
	s.echoes.mu.Lock()
	san := s.echoes.sans[s.at.cluster]
	s.echoes.mu.Unlock()
	switch {
	case manner.Identity != "":
		san = manner.Identity
	case san == "" && serverName != "":
		san = serverName
	case san == "":
		san = "localhost"
	}
	var leaf stdtls.Certificate
	var err error
	switch keys := s.echoes.pki; {
	case manner.Public:
		leaf, err = keys.public.leaf(san)
	case manner.Revoked:
		leaf, err = keys.revokedLeaf(san)
	default:
		leaf, err = keys.leaf(san)
	}
	return &leaf, err
}
