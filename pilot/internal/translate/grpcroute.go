package translate

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// grpcRoutes renders one route for gRPC clients of authority (host:port): none
// where no gRPC call can match, and several where a header may be absent or
// different. Source: gRFC A28.
func (b *builder) grpcRoutes(r *model.Route, authority string) (out []*route.Route) {
	if !grpcMatches(r.Match, authority) {
		return nil
	}
	action := route.Route{Action: &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{Status: 503}}}
	if f, ok := r.Action.(*model.Forward); ok {
		action.Action = &route.Route_Route{Route: grpcForward(f)}
	} // else: gRPC fails the call, for it cannot answer by itself
	for _, headers := range grpcHeaders(r.Match.Headers) {
		m := &route.RouteMatch{Headers: headers}
		pathMatch(m, r.Match.Path)
		out = append(out, &route.Route{Name: r.Name, Match: m, Action: action.Action, TypedPerFilterConfig: b.perRoute(&model.Route{Fault: r.Fault})})
	}
	return out
}

// grpcMatches reports whether a call of authority can match as far as it is
// known beforehand: each is a POST by http, and none has a query.
func grpcMatches(m model.Match, authority string) bool {
	if len(m.Query) > 0 || !holds(m.Method, "POST") || !holds(m.Scheme, "http") || !holds(m.Authority, authority) {
		return false
	}
	for _, h := range m.Headers {
		if value, known := pseudo(h.Name, authority); known && holds(&h.StringMatch, value) == h.Not {
			return false
		}
	}
	return true
}

// pseudo is what a header of HTTP/2's own has in every call.
func pseudo(name, authority string) (value string, known bool) {
	value, known = map[string]string{":method": "POST", ":scheme": "http", ":authority": authority, "host": authority}[name]
	return value, known
}

// holds reports whether a match, if there is one, takes value.
func holds(m *model.StringMatch, value string) bool {
	if m == nil {
		return true
	}
	want := m.Value
	if m.IgnoreCase && m.Kind != model.MatchRegex {
		want, value = strings.ToLower(want), strings.ToLower(value)
	}
	switch m.Kind {
	case model.MatchExact:
		return value == want
	case model.MatchPrefix:
		return strings.HasPrefix(value, want)
	case model.MatchSuffix:
		return strings.HasSuffix(value, want)
	case model.MatchRegex:
		re, err := regexp.Compile("^(?:" + want + ")$")
		return err == nil && re.MatchString(value)
	default:
		return true
	}
}

// maxAbsent bounds the headers that may be absent or different in one route, for
// each doubles the routes. Of more, those behind must be absent.
const maxAbsent = 4

// grpcHeaders are the alternatives of a list of headers: to gRPC an absent
// header matches nothing but its absence, inverted or not.
func grpcHeaders(all []model.HeaderMatch) [][]*route.HeaderMatcher {
	out := [][]*route.HeaderMatcher{nil}
	doubled := 0
	for _, h := range all {
		if _, known := pseudo(h.Name, ""); known {
			continue
		}
		present := headerMatch(h.Name, &h.StringMatch, h.Not)
		present.TreatMissingHeaderAsEmpty = false
		if !h.Not || h.Kind == model.MatchPresent {
			out = withHeader(out, present)
			continue
		}
		absent := withHeader(out, &route.HeaderMatcher{Name: h.Name, InvertMatch: true, HeaderMatchSpecifier: &route.HeaderMatcher_PresentMatch{PresentMatch: true}})
		if doubled++; doubled > maxAbsent {
			out = absent
		} else {
			out = append(absent, withHeader(out, present)...)
		}
	}
	return out
}

// withHeader adds a condition to each alternative.
func withHeader(all [][]*route.HeaderMatcher, h *route.HeaderMatcher) [][]*route.HeaderMatcher {
	out := make([][]*route.HeaderMatcher, len(all))
	for i, headers := range all {
		out[i] = append(slices.Clone(headers), h)
	}
	return out
}

// grpcForward renders an action: weights, time-out (gRFC A31), retries (A44) and
// what of the call chooses the endpoint (A42).
func grpcForward(f *model.Forward) *route.RouteAction {
	out := &route.RouteAction{RetryPolicy: grpcRetry(f.Retry)}
	grpcDestinations(out, f.Destinations)
	if f.Timeout > 0 {
		out.MaxStreamDuration = &route.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(f.Timeout)}
	}
	for _, d := range f.Destinations {
		if p := grpcHash(d.Hash); p != nil && (d.Weight > 0 || len(f.Destinations) == 1) {
			out.HashPolicy = append(out.HashPolicy, p)
		}
	}
	return out
}

func grpcDestinations(out *route.RouteAction, all []model.Destination) {
	weighted := &route.WeightedCluster{}
	for _, d := range all {
		if d.Weight > 0 || len(all) == 1 {
			weighted.Clusters = append(weighted.Clusters, &route.WeightedCluster_ClusterWeight{
				Name: cmp.Or(d.Cluster, blackHoleCluster), Weight: wrapperspb.UInt32(max(d.Weight, 1)),
			})
		}
	}
	switch len(weighted.GetClusters()) {
	case 0:
		out.ClusterSpecifier = &route.RouteAction_Cluster{Cluster: blackHoleCluster}
	case 1:
		out.ClusterSpecifier = &route.RouteAction_Cluster{Cluster: weighted.GetClusters()[0].GetName()}
	default:
		out.ClusterSpecifier = &route.RouteAction_WeightedClusters{WeightedClusters: weighted}
	}
}

// grpcRetry renders a retry policy; nil where none of its conditions is gRPC's.
func grpcRetry(r *model.Retry) *route.RetryPolicy {
	if r == nil || r.Attempts == 0 {
		return nil
	}
	var on []string
	for word := range strings.SplitSeq(r.On, ",") {
		if word = strings.TrimSpace(word); slices.Contains(model.GRPCRetries, word) && !slices.Contains(on, word) {
			on = append(on, word)
		}
	}
	if len(on) == 0 {
		return nil
	}
	out := &route.RetryPolicy{RetryOn: strings.Join(on, ","), NumRetries: wrapperspb.UInt32(r.Attempts)}
	if r.Backoff > 0 {
		out.RetryBackOff = &route.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(r.Backoff)}
	}
	return out
}

// grpcHash says what of the call chooses the endpoint: a header, or in place of
// the source address the channel, for a client has one address. Others have no
// form: then each call chooses anew.
func grpcHash(h *model.ConsistentHash) *route.RouteAction_HashPolicy {
	switch {
	case h == nil:
		return nil
	case h.Header != "":
		return hashPolicy(h)
	case h.SourceIP:
		return &route.RouteAction_HashPolicy{PolicySpecifier: &route.RouteAction_HashPolicy_FilterState_{
			FilterState: &route.RouteAction_HashPolicy_FilterState{Key: "io.grpc.channel_id"},
		}}
	default:
		return nil
	}
}
