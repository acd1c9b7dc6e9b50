package translate

import (
	"strconv"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	commonmatcher "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	proxyprotocol "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	http "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// retryBudget bounds retries by a part of the requests, in place of a count.
// Source: envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget.
func retryBudget(out *cluster.Cluster, r *model.RetryBudget) {
	if r == nil {
		return
	}
	for _, t := range out.GetCircuitBreakers().GetThresholds() {
		t.MaxRetries = nil
		t.RetryBudget = &cluster.CircuitBreakers_Thresholds_RetryBudget{BudgetPercent: &xtype.Percent{Value: r.Percent}, MinRetryConcurrency: wrapperspb.UInt32(r.Least)}
		if r.Interval > 0 {
			t.RetryBudget.BudgetInterval = durationpb.New(r.Interval)
		}
	}
}

// proxyProtocol puts the header before what the sockets send, TLS or not.
// Source: envoy.extensions.transport_sockets.proxy_protocol.v3.
func (b *builder) proxyProtocol(out *cluster.Cluster, p *model.ProxyProtocol) {
	if p == nil {
		return
	}
	wrap := func(inner *core.TransportSocket) *core.TransportSocket {
		if inner == nil {
			inner = b.rawSocket()
		}
		config := &core.ProxyProtocolConfig{Version: core.ProxyProtocolConfig_V1}
		if p.V2 {
			config.Version = core.ProxyProtocolConfig_V2
		}
		return &core.TransportSocket{Name: "envoy.transport_sockets.upstream_proxy_protocol", ConfigType: &core.TransportSocket_TypedConfig{
			TypedConfig: b.pack(&proxyprotocol.ProxyProtocolUpstreamTransport{Config: config, TransportSocket: inner}),
		}}
	}
	out.TransportSocket = wrap(out.GetTransportSocket())
	for _, m := range out.GetTransportSocketMatches() {
		m.TransportSocket = wrap(m.GetTransportSocket())
	}
}

// errorsOf says which statuses outlier detection takes for errors; nil: 5xx.
// Source: envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection.
func errorsOf(o *model.OutlierDetection) *http.HttpProtocolOptions_OutlierDetection {
	if o == nil || len(o.Codes) == 0 {
		return nil
	}
	var rules []*commonmatcher.MatchPredicate
	for _, code := range o.Codes {
		status := &route.HeaderMatcher{Name: ":status", HeaderMatchSpecifier: &route.HeaderMatcher_StringMatch{
			StringMatch: &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: strconv.FormatUint(uint64(code), 10)}},
		}}
		rules = append(rules, &commonmatcher.MatchPredicate{Rule: &commonmatcher.MatchPredicate_HttpResponseHeadersMatch{
			HttpResponseHeadersMatch: &commonmatcher.HttpHeadersMatch{Headers: []*route.HeaderMatcher{status}},
		}})
	}
	if len(rules) == 1 {
		return &http.HttpProtocolOptions_OutlierDetection{ErrorMatcher: rules[0]}
	}
	return &http.HttpProtocolOptions_OutlierDetection{ErrorMatcher: &commonmatcher.MatchPredicate{Rule: &commonmatcher.MatchPredicate_OrMatch{
		OrMatch: &commonmatcher.MatchPredicate_MatchSet{Rules: rules},
	}}}
}
