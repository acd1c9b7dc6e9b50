package translate

import (
	"cmp"
	"slices"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previous "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	priorities "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// forward renders a route's action that sends the request on.
// Source: envoy.config.route.v3.RouteAction.
func (b *builder) forward(r *model.Route, f *model.Forward) *route.RouteAction {
	out := &route.RouteAction{ClusterNotFoundResponseCode: route.RouteAction_SERVICE_UNAVAILABLE}
	destinations(out, f.Destinations)
	hashed := onlyDestination(r).Hash != nil // the hash says where to, again too
	if f.Retry == b.DefaultRetry && f.Timeout == 0 && !hashed {
		graft(b, out, tries, func() *route.RouteAction {
			return &route.RouteAction{RetryPolicy: b.retry(f.Retry, false), Timeout: durationpb.New(0)}
		})
	} else {
		out.RetryPolicy, out.Timeout = b.retry(f.Retry, hashed), durationpb.New(f.Timeout)
	}
	rewrite(out, f.Rewrite)
	out.AppendXForwardedHost = b.Headers.ForwardedHost
	if host := authority(r, f); host != "" {
		out.HostRewriteSpecifier = &route.RouteAction_HostRewriteLiteral{HostRewriteLiteral: host}
	}
	for _, m := range f.Mirrors {
		out.RequestMirrorPolicies = append(out.RequestMirrorPolicies, &route.RouteAction_RequestMirrorPolicy{
			Cluster: m.Cluster, RuntimeFraction: runtimeMillionths(m.PPM), TraceSampled: wrapperspb.Bool(false),
		})
	}
	for _, d := range f.Destinations {
		if d.Hash != nil && (d.Weight > 0 || len(f.Destinations) == 1) {
			out.HashPolicy = append(out.HashPolicy, hashPolicy(d.Hash))
		}
	}
	return out
}

// authority is what the request's host becomes: by the rewrite, else by the
// route's headers, else by those of its one destination.
func authority(r *model.Route, f *model.Forward) string {
	if f.Rewrite != nil && f.Rewrite.Authority != "" {
		return f.Rewrite.Authority
	}
	return cmp.Or(authorityOf(r.Request), authorityOf(onlyDestination(r).Request))
}

// destinations sets one cluster, or several by weight; those of weight 0 take
// nothing. A route to nothing names a cluster that does not exist: 503 with
// flag NC.
func destinations(out *route.RouteAction, all []model.Destination) {
	if len(all) <= 1 {
		name := noCluster
		if len(all) == 1 {
			name = cmp.Or(all[0].Cluster, noCluster)
		}
		out.ClusterSpecifier = &route.RouteAction_Cluster{Cluster: name}
		return
	}
	weighted := &route.WeightedCluster{}
	for _, d := range all {
		if d.Weight > 0 {
			weighted.Clusters = append(weighted.Clusters, share(d))
		}
	}
	if len(weighted.GetClusters()) == 0 {
		out.ClusterSpecifier = &route.RouteAction_Cluster{Cluster: noCluster}
		return
	}
	out.ClusterSpecifier = &route.RouteAction_WeightedClusters{WeightedClusters: weighted}
}

// noCluster is the name of no cluster.
const noCluster = "unknown"

func share(d model.Destination) *route.WeightedCluster_ClusterWeight {
	out := &route.WeightedCluster_ClusterWeight{
		Name: cmp.Or(d.Cluster, noCluster), Weight: wrapperspb.UInt32(d.Weight),
		RequestHeadersToAdd: headersToAdd(d.Request), RequestHeadersToRemove: d.Request.Remove,
		ResponseHeadersToAdd: headersToAdd(d.Response), ResponseHeadersToRemove: d.Response.Remove,
	}
	if host := authorityOf(d.Request); host != "" {
		out.HostRewriteSpecifier = &route.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: host}
	}
	return out
}

// onlyDestination is the one destination of a route, whose header changes are
// made by the route itself, after its own.
func onlyDestination(r *model.Route) model.Destination {
	if f, ok := r.Action.(*model.Forward); ok && len(f.Destinations) == 1 {
		return f.Destinations[0]
	}
	return model.Destination{}
}

// rewrite changes the path. What it replaces is what the path matched: a
// prefix, the exact path, or the whole path of a regex (Istio, HTTPRewrite).
func rewrite(out *route.RouteAction, rw *model.Rewrite) {
	if rw == nil {
		return
	}
	switch {
	case rw.Regex != "":
		out.RegexRewrite = substitute(rw.Regex, rw.Substitution)
	case rw.Path == "":
	default:
		out.PrefixRewrite = rw.Path
	}
}

func substitute(regex, by string) *matcher.RegexMatchAndSubstitute {
	return &matcher.RegexMatchAndSubstitute{Pattern: &matcher.RegexMatcher{Regex: regex}, Substitution: by}
}

// otherHostPicks is how often Envoy picks again before it takes a host that
// has failed this request already. Istio's 5 are too few with LEAST_REQUEST: a
// host that fails fast looks idle and is picked again, so that of two hosts all
// five picks fall on it in a quarter of the cases.
const otherHostPicks = 20

// retry renders the retry policy; nil means none. As in Istio another host is
// tried first, where hashed does not say which. Where failures to connect are
// retried, so are those between an app and its own sidecar.
func (b *builder) retry(r *model.Retry, hashed bool) *route.RetryPolicy {
	if r == nil || r.Attempts == 0 {
		return nil
	}
	out := &route.RetryPolicy{
		RetryOn: r.On, NumRetries: wrapperspb.UInt32(r.Attempts), PerTryTimeout: span(r.PerTry), RetriableStatusCodes: r.Codes,
		HostSelectionRetryMaxAttempts: otherHostPicks,
	}
	if slices.Contains(strings.Split(r.On, ","), "connect-failure") {
		out.RetryOn += ",retriable-headers"
		out.RetriableHeaders = []*route.HeaderMatcher{{
			Name: unreachedHeader, HeaderMatchSpecifier: &route.HeaderMatcher_PresentMatch{PresentMatch: true},
		}}
	}
	if !r.PreviousHosts && !hashed {
		out.RetryHostPredicate = []*route.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &route.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: b.pack(&previous.PreviousHostsPredicate{})},
		}}
	}
	if r.RemoteLocality {
		out.RetryPriority = &route.RetryPolicy_RetryPriority{
			Name:       "envoy.retry_priorities.previous_priorities",
			ConfigType: &route.RetryPolicy_RetryPriority_TypedConfig{TypedConfig: b.pack(&priorities.PreviousPrioritiesConfig{UpdateFrequency: 2})},
		}
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
