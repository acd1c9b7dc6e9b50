package bootstrap

import (
	"regexp"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Stats are parts of the names of Envoy's statistics that a proxy keeps beside
// those of every proxy. The zero value adds none; none takes one away.
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.ProxyStatsMatcher.
type Stats struct{ Prefixes, Suffixes, Regexps []string }

// statsConfig keeps an inclusion list: a cluster costs 46 kB with few stats
// and 71 kB with all, and a proxy has thousands of them.
func statsConfig(own Stats, domain string) *metricsv3.StatsConfig {
	return &metricsv3.StatsConfig{
		UseAllDefaultTags: wrapperspb.Bool(false),
		StatsTags:         statsTags(domain),
		StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_InclusionList{
			InclusionList: &matcherv3.ListStringMatcher{Patterns: inclusions(own)}}},
	}
}

// inclusions are Istio's, and some suffixes more: downstream_{cx,rq}_active tell
// a drained stop when the last connection and request have ended, ejections_active and
// upstream_cx_active what outlier detection and the pools do, overflows which limits
// of circuit breakers were met, and those of
// listeners, and of what is behind them, what connections to ports without a
// protocol turned out to be. Kiali's page of a proxy wants the requests of listeners
// by class of answer, and of clusters.
func inclusions(own Stats) []*matcherv3.StringMatcher {
	prefixes := append([]string{
		"istio", // our standard metrics, and Istio's name space
		"weft.", // callers without the mesh's mTLS
		"reporter=", "component",
		"cluster_manager", "listener_manager", "server",
		"cluster." + XDSCluster,
		"control_plane", "wasm", "overload",
	}, own.Prefixes...)
	suffixes := append([]string{
		"rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied",
		"downstream_cx_active", "downstream_rq_active", "outlier_detection.ejections_active", "upstream_cx_active", "upstream_rq_total",
		"upstream_cx_overflow", "upstream_rq_pending_overflow", "upstream_rq_active_overflow", "upstream_rq_retry_overflow",
		"downstream_pre_cx_timeout", "downstream_cx_http1_total", "downstream_cx_http2_total",
	}, own.Suffixes...)
	var out []*matcherv3.StringMatcher
	for _, p := range prefixes {
		out = append(out, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p}})
	}
	for _, s := range suffixes {
		out = append(out, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}})
	}
	for _, r := range append([]string{`vhost\..*\.route\..*`, `tcp\..*\.downstream_cx_total`, `listener\..*\.http\..*\.downstream_rq_[1-5]xx`}, own.Regexps...) {
		out = append(out, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: r}}})
	}
	return out
}

// clusterTag ends a cluster's name, which has dots of its own, at the first
// word that begins one of Envoy's cluster statistics. A namespace may be such a
// word, default for one: a Service's name ends with the cluster's domain.
func clusterTag(domain string) string {
	return `^cluster\.((.+?(?:\.[^.]+\.svc\.` + regexp.QuoteMeta(domain) + `)?)\.)` + clusterStats
}

const clusterStats = `(?:upstream_|membership_|lb_|update_|assignment_|bind_errors|circuit_breakers\.|` +
	`outlier_detection\.|ssl\.|tls\.|http1\.|http2\.|http3\.|grpc\.|external\.|internal\.|canary\.|default\.|retry|version|` +
	`warming_state|init_fetch_timeout|max_host_weight|original_dst|upgrade|zone)`

// statsTags are those of Istio's bootstrap that stock Envoy can fill: what
// makes envoy_cluster_upstream_cx_active{cluster_name="..."} of a long name.
func statsTags(domain string) []*metricsv3.TagSpecifier {
	tags := []struct{ name, regex string }{
		{"cluster_name", clusterTag(domain)},
		{"tcp_prefix", `^tcp\.((.*?)\.)\w+?$`},
		{"response_code", `(response_code=\.=(.+?);\.;)|_rq(_(\d{3}))$`},
		{"response_code_class", `_rq(_(\dxx))$`},
		{"http_conn_manager_prefix", `^http\.((.+?)\.)(?:downstream_|rq_|tracing\.|passthrough_|no_)`},
		{"http_conn_manager_listener_prefix", `^listener\..+?\.http\.((.+?)\.)downstream_`},
		{"listener_address", `^listener\.((.+?)\.)(?:downstream_|http\.|ssl\.|tls\.|worker_|main_thread\.|no_filter_chain|extension_config)`},
	}
	out := make([]*metricsv3.TagSpecifier, len(tags))
	for i, t := range tags {
		out[i] = &metricsv3.TagSpecifier{TagName: t.name, TagValue: &metricsv3.TagSpecifier_Regex{Regex: t.regex}}
	}
	return out
}
