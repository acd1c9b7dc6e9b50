package translate

import (
	"cmp"
	"regexp"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previous "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// forward renders a route's action that sends the request on.
// Source: envoy.config.route.v3.RouteAction.
func (b *builder) forward(r *model.Route, f *model.Forward) *route.RouteAction {
	out := &route.RouteAction{RetryPolicy: b.retry(f.Retry), Timeout: durationpb.New(f.Timeout), ClusterNotFoundResponseCode: route.RouteAction_SERVICE_UNAVAILABLE}
	b.destinations(out, f.Destinations)
	rewrite(out, r.Match.Path, f.Rewrite)
	if host := authorityOf(r.Request); host != "" {
		out.HostRewriteSpecifier = &route.RouteAction_HostRewriteLiteral{HostRewriteLiteral: host}
	}
	for _, m := range f.Mirrors {
		out.RequestMirrorPolicies = append(out.RequestMirrorPolicies, &route.RouteAction_RequestMirrorPolicy{
			Cluster: m.Cluster, RuntimeFraction: runtimeMillionths(m.PPM), TraceSampled: wrapperspb.Bool(false),
		})
	}
	for _, d := range f.Destinations {
		if d.Hash != nil {
			out.HashPolicy = append(out.HashPolicy, hashPolicy(d.Hash))
		}
	}
	return out
}

// destinations sets one cluster, or several by weight. A route to nothing
// names a cluster that does not exist: 503 with flag NC.
func (b *builder) destinations(out *route.RouteAction, all []model.Destination) {
	if len(all) == 1 && plain(all[0]) {
		out.ClusterSpecifier = &route.RouteAction_Cluster{Cluster: cmp.Or(all[0].Cluster, "unknown")}
		if host := authorityOf(all[0].Request); host != "" {
			out.HostRewriteSpecifier = &route.RouteAction_HostRewriteLiteral{HostRewriteLiteral: host}
		}
		return
	}
	weighted := &route.WeightedCluster{}
	for _, d := range all {
		w := &route.WeightedCluster_ClusterWeight{
			Name: cmp.Or(d.Cluster, "unknown"), Weight: wrapperspb.UInt32(d.Weight),
			RequestHeadersToAdd: headersToAdd(d.Request), RequestHeadersToRemove: d.Request.Remove,
			ResponseHeadersToAdd: headersToAdd(d.Response), ResponseHeadersToRemove: d.Response.Remove,
		}
		if len(all) == 1 {
			w.Weight.Value = max(d.Weight, 1)
		}
		if host := authorityOf(d.Request); host != "" {
			w.HostRewriteSpecifier = &route.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: host}
		}
		weighted.Clusters = append(weighted.Clusters, w)
	}
	if len(weighted.GetClusters()) == 0 {
		out.ClusterSpecifier = &route.RouteAction_Cluster{Cluster: "unknown"}
		return
	}
	out.ClusterSpecifier = &route.RouteAction_WeightedClusters{WeightedClusters: weighted}
}

// plain reports whether a destination changes no header.
func plain(d model.Destination) bool {
	return len(d.Request.Set)+len(d.Request.Add)+len(d.Request.Remove)+len(d.Response.Set)+len(d.Response.Add)+len(d.Response.Remove) == 0
}

// rewrite changes path and host. What it replaces is what the path matched: a
// prefix, the exact path, or the whole path of a regex (Istio, HTTPRewrite).
func rewrite(out *route.RouteAction, path *model.StringMatch, rw *model.Rewrite) {
	if rw == nil {
		return
	}
	if rw.Authority != "" {
		out.HostRewriteSpecifier = &route.RouteAction_HostRewriteLiteral{HostRewriteLiteral: rw.Authority}
	}
	switch {
	case rw.Regex != "":
		out.RegexRewrite = substitute(rw.Regex, rw.Substitution)
	case rw.Path == "":
	case path != nil && path.Kind == model.MatchRegex:
		out.RegexRewrite = substitute(path.Value, rw.Path)
	case rw.Path == "/" && path != nil && path.Kind == model.MatchPrefix && !strings.HasSuffix(path.Value, "/"):
		// /api -> / must make /api/x to /x, not //x.
		out.RegexRewrite = substitute("^"+quoteMeta(path.Value)+"(/?)(.*)", `/\2`)
	default:
		out.PrefixRewrite = rw.Path
	}
}

func substitute(regex, by string) *matcher.RegexMatchAndSubstitute {
	return &matcher.RegexMatchAndSubstitute{Pattern: &matcher.RegexMatcher{Regex: regex}, Substitution: by}
}

// retry renders the retry policy; nil means none. As in Istio another host is
// tried first, five times.
func (b *builder) retry(r *model.Retry) *route.RetryPolicy {
	if r == nil || r.Attempts == 0 {
		return nil
	}
	out := &route.RetryPolicy{
		RetryOn: r.On, NumRetries: wrapperspb.UInt32(r.Attempts), PerTryTimeout: span(r.PerTry), RetriableStatusCodes: r.Codes,
		HostSelectionRetryMaxAttempts: 5,
	}
	if !r.PreviousHosts {
		out.RetryHostPredicate = []*route.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &route.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: b.pack(&previous.PreviousHostsPredicate{})},
		}}
	}
	if r.Backoff > 0 {
		out.RetryBackOff = &route.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(r.Backoff)}
	}
	return out
}

// hashPolicy says what of the request chooses the endpoint.
func hashPolicy(h *model.ConsistentHash) *route.RouteAction_HashPolicy {
	switch {
	case h.Header != "":
		return &route.RouteAction_HashPolicy{PolicySpecifier: &route.RouteAction_HashPolicy_Header_{
			Header: &route.RouteAction_HashPolicy_Header{HeaderName: h.Header},
		}}
	case h.Cookie != nil:
		c := &route.RouteAction_HashPolicy_Cookie{Name: h.Cookie.Name, Path: h.Cookie.Path}
		if h.Cookie.TTL != nil {
			c.Ttl = durationpb.New(*h.Cookie.TTL)
		}
		for _, a := range h.Cookie.Attributes {
			c.Attributes = append(c.Attributes, &route.RouteAction_HashPolicy_CookieAttribute{Name: a.Name, Value: a.Value})
		}
		return &route.RouteAction_HashPolicy{PolicySpecifier: &route.RouteAction_HashPolicy_Cookie_{Cookie: c}}
	case h.Query != "":
		return &route.RouteAction_HashPolicy{PolicySpecifier: &route.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &route.RouteAction_HashPolicy_QueryParameter{Name: h.Query},
		}}
	default:
		return &route.RouteAction_HashPolicy{PolicySpecifier: &route.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &route.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}
	}
}

func quoteMeta(s string) string { return regexp.QuoteMeta(s) }
