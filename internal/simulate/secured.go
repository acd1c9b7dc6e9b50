package simulate

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// secured fills in what TLS to an endpoint is like.
func (c *Config) secured(config *tls.UpstreamTlsContext, t *Target) error {
	t.TLS, t.SNI = true, config.GetSni()
	common := config.GetCommonTlsContext()
	checks := validation(common)
	for _, san := range checks.GetMatchTypedSubjectAltNames() {
		name := san.GetMatcher().GetExact()
		if prefix := san.GetMatcher().GetPrefix(); prefix != "" {
			name = prefix + "*"
		}
		if name == "" {
			return unknown("subject alternative name %v", san)
		}
		t.Names = append(t.Names, name)
	}
	own := common.GetTlsCertificateSdsSecretConfigs()
	t.Certificate = len(common.GetTlsCertificates())+len(own) > 0
	for _, s := range own {
		t.Unready = t.Unready || !c.comes(s)
	}
	t.CA, t.Revokes = authority(common), checks.GetCrl() != nil
	if s := common.GetCombinedValidationContext().GetValidationContextSdsSecretConfig(); s != nil {
		t.Revokes = c.secrets[s.GetName()].GetValidationContext().GetCrl() != nil
		t.Unready = t.Unready || !c.comes(s)
	}
	return nil
}

// comes says whether the proxy is given a secret: one of the control plane's
// must be among its resources, those of the agent in its pod are always there.
func (c *Config) comes(s *tls.SdsSecretConfig) bool {
	_, ads := s.GetSdsConfig().GetConfigSourceSpecifier().(*core.ConfigSource_Ads)
	return !ads || c.secrets[s.GetName()] != nil
}
