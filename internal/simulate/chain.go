package simulate

import (
	"fmt"
	"slices"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	extauthzbytes "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbacbytes "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	setfilterstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	snicluster "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	askedsni "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	rawbuffer "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// runChain terminates TLS and runs the network filters of chain.
func (w walk) runChain(chain *listener.FilterChain) ([]Outcome, error) {
	if err := checkKnown(chain); err != nil {
		return nil, err
	}
	w.out.FilterChain = chain.GetName()
	terminated, refusal, err := w.handshake(chain.GetTransportSocket())
	if err != nil {
		return nil, err
	}
	if refusal != "" {
		return w.closed(refusal), nil
	}
	w.secure = terminated
	for _, f := range chain.GetFilters() {
		if err := checkKnown(f); err != nil {
			return nil, err
		}
		config, err := unpacked(f.GetTypedConfig())
		if err != nil {
			return nil, fmt.Errorf("network filter %s: %w", f.GetName(), err)
		}
		switch config := config.(type) {
		case *setfilterstate.Config: // for logs only
		case *snicluster.SniCluster:
			w.named = w.conn.serverName
		case *askedsni.FilterConfig:
			w.looked, w.lookedPort = w.conn.serverName != "", config.GetPortValue()
		case *rbacbytes.RBAC:
			if allowed, err := w.rbacBytes(config); err != nil || !allowed {
				return w.closed("RBAC: access denied"), err
			}
		case *extauthzbytes.ExtAuthz:
			if allowed, err := w.extAuthzBytes(config); err != nil || !allowed {
				return w.closed("external authorization: denied"), err
			}
		case *tcpproxy.TcpProxy:
			return w.tcp(config)
		case *hcm.HttpConnectionManager:
			if w.call.TCP || w.call.TLS != nil && !terminated {
				return w.closed("not HTTP, on a filter chain for HTTP"), nil
			}
			return w.http(config)
		default:
			return nil, unknown("network filter %s of type %T", f.GetName(), config)
		}
	}
	return w.closed("the filter chain has no terminal filter"), nil
}

// handshake is the transport socket's part: whether it takes TLS off, and why
// it refuses the connection, if it does.
func (w *walk) handshake(socket *core.TransportSocket) (terminated bool, refusal string, err error) {
	if socket == nil {
		return false, "", nil
	}
	config, err := unpacked(socket.GetTypedConfig())
	if err != nil {
		return false, "", fmt.Errorf("transport socket %s: %w", socket.GetName(), err)
	}
	context, ok := config.(*tls.DownstreamTlsContext)
	if _, raw := config.(*rawbuffer.RawBuffer); raw {
		return false, "", nil
	}
	if !ok {
		return false, "", unknown("transport socket %T", config)
	}
	if err := checkKnown(context); err != nil {
		return false, "", err
	}
	if w.call.TLS == nil {
		return false, "plaintext, where TLS is required", nil
	}
	if !w.show(context.GetCommonTlsContext()) {
		return false, "the server's certificate is not there", nil
	}
	if s := context.GetCommonTlsContext().GetCombinedValidationContext().GetValidationContextSdsSecretConfig(); s != nil && !w.config.comes(s) {
		return false, "the clients' CA is not there", nil
	}
	if only := w.call.TLS.Version; only != "" && !speaks(context.GetCommonTlsContext().GetTlsParams(), only) {
		return false, "no version of TLS that both sides speak", nil
	}
	if !agree(context.GetCommonTlsContext().GetTlsParams(), w.call.TLS) {
		return false, "no cipher suite that both sides speak", nil
	}
	if !agreeCurve(context.GetCommonTlsContext().GetTlsParams(), w.call.TLS) {
		return false, "no curve that both sides know", nil
	}
	refusal, err = w.checkClient(context)
	return refusal == "" && err == nil, refusal, err
}

// speaks says whether a server takes a version of TLS. Envoy's own bounds are
// 1.2 and 1.3.
func speaks(p *tls.TlsParameters, version string) bool {
	number := map[string]tls.TlsParameters_TlsProtocol{"1.2": tls.TlsParameters_TLSv1_2, "1.3": tls.TlsParameters_TLSv1_3}[version]
	least, most := p.GetTlsMinimumProtocolVersion(), p.GetTlsMaximumProtocolVersion()
	if least == tls.TlsParameters_TLS_AUTO {
		least = tls.TlsParameters_TLSv1_2
	}
	return number >= least && (most == tls.TlsParameters_TLS_AUTO || number <= most)
}

// agree says whether a server takes any of a client's cipher suites. Those of
// TLS 1.3 are fixed.
func agree(p *tls.TlsParameters, client *TLS) bool {
	if len(client.Ciphers) == 0 || len(p.GetCipherSuites()) == 0 || client.Version != "1.2" {
		return true
	}
	return slices.ContainsFunc(client.Ciphers, func(c string) bool { return slices.Contains(p.GetCipherSuites(), c) })
}

// agreeCurve says whether a server takes any of a client's curves.
func agreeCurve(p *tls.TlsParameters, client *TLS) bool {
	takes := p.GetEcdhCurves()
	if len(takes) == 0 {
		takes = []string{"X25519MLKEM768", "X25519", "P-256"}
	}
	return len(client.Curves) == 0 || slices.ContainsFunc(client.Curves, func(c string) bool { return slices.Contains(takes, c) })
}

// validation is the part of a TLS context that checks the peer's certificate,
// as far as it is written in the context itself; nil when there is none.
func validation(c *tls.CommonTlsContext) *tls.CertificateValidationContext {
	if combined := c.GetCombinedValidationContext(); combined != nil {
		return combined.GetDefaultValidationContext()
	}
	return c.GetValidationContext()
}

// tcp is the TCP proxy: the bytes go to a cluster as they are.
func (w walk) tcp(config *tcpproxy.TcpProxy) ([]Outcome, error) {
	if err := checkKnown(config); err != nil {
		return nil, err
	}
	if t := config.GetTunnelingConfig(); t != nil {
		if err := checkKnown(t); err != nil {
			return nil, err
		}
		method := "CONNECT "
		if t.GetUsePost() {
			method = "POST "
		}
		w.out.Tunnel = method + t.GetHostname()
	}
	send := func(name string) func(walk) ([]Outcome, error) {
		return func(w walk) ([]Outcome, error) { return w.tcpTo(name) }
	}
	if w.named != "" {
		return w.tcpTo(w.named)
	}
	if name := config.GetCluster(); name != "" {
		return w.tcpTo(name)
	}
	var choices []choice
	for _, c := range config.GetWeightedClusters().GetClusters() {
		choices = append(choices, choice{c.GetWeight(), send(c.GetName())})
	}
	return w.choose(choices)
}

func (w walk) tcpTo(name string) ([]Outcome, error) {
	w.out.Cluster, w.out.ClusterStat = name, w.config.statOf(name)
	targets, found, err := w.targets(name)
	if err != nil {
		return nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	if !found || len(targets) == 0 {
		why := noHealthyUpstream
		if !found {
			why = noCluster
		}
		return w.with(why).closed("cluster has no endpoint"), nil
	}
	w.out.Upstreams, w.out.Attempts = targets, 1
	if w.out.Tunnel != "" {
		carrier, err := w.way(w.config.clusters[name], nil)
		if err != nil {
			return nil, err
		}
		w.out.Tunnel += " " + carrier.Protocol
	}
	if !w.call.TCP { // the endpoint itself speaks HTTP with the client, in the client's TLS if any
		w.out.Request = w.callRequest()
		w.out.Status = w.call.Upstream.status(1)
	}
	return []Outcome{w.out}, nil // its flags tell how the two ends closed it, which is their affair
}

// choice is one way on, with its weight.
type choice struct {
	weight uint32
	run    func(walk) ([]Outcome, error)
}

// choose forks the walk by weight.
func (w walk) choose(choices []choice) ([]Outcome, error) {
	total := 0.0
	for _, c := range choices {
		total += float64(c.weight)
	}
	if total == 0 {
		return nil, fmt.Errorf("weighted clusters: all weights are 0, which Envoy refuses")
	}
	var all []Outcome
	for _, c := range choices {
		if c.weight == 0 {
			continue
		}
		next := w
		next.out.Probability *= float64(c.weight) / total
		outcomes, err := c.run(next)
		if err != nil {
			return nil, err
		}
		all = append(all, outcomes...)
	}
	return all, nil
}
