package translate

import (
	"net/netip"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// tokenFilter checks JSON web tokens; tokenPayload is the key of its metadata
// that holds the claims.
const (
	tokenFilter  = "envoy.filters.http.jwt_authn"
	tokenPayload = "payload"
)

// textMatch is stringMatch where "any" must be a text that is not empty: a
// caller without a certificate has an empty name.
func textMatch(m *model.StringMatch) *matcher.StringMatcher {
	if m.Kind == model.MatchPresent {
		return stringMatch(&model.StringMatch{Kind: model.MatchRegex, Value: ".+"})
	}
	return stringMatch(m)
}

func wholePath(m *model.StringMatch) *matcher.PathMatcher {
	return &matcher.PathMatcher{Rule: &matcher.PathMatcher_Path{Path: textMatch(m)}}
}

func cidrRange(p netip.Prefix) *core.CidrRange {
	return &core.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
}

func fromMetadata(m *matcher.MetadataMatcher) *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_SourcedMetadata{SourcedMetadata: &rbac.SourcedMetadata{MetadataMatcher: m}}}
}

// claim matches a claim of a token that was checked: a text, or one of a list.
func claim(path []string, matches []model.StringMatch) *matcher.MetadataMatcher {
	return metadataMatch(tokenFilter, append([]string{tokenPayload}, path...), listOrText(matches, true, true))
}

func metadataMatch(filter string, path []string, value *matcher.ValueMatcher) *matcher.MetadataMatcher {
	out := &matcher.MetadataMatcher{Filter: filter, Value: value}
	for _, key := range path {
		out.Path = append(out.Path, &matcher.MetadataMatcher_PathSegment{Segment: &matcher.MetadataMatcher_PathSegment_Key{Key: key}})
	}
	return out
}

// listOrText matches a list with such an element, or such a text.
func listOrText(matches []model.StringMatch, list, text bool) *matcher.ValueMatcher {
	any := []*matcher.ValueMatcher{}
	for _, m := range matches {
		one := &matcher.ValueMatcher{MatchPattern: &matcher.ValueMatcher_StringMatch{StringMatch: textMatch(&m)}}
		if list {
			any = append(any, &matcher.ValueMatcher{MatchPattern: &matcher.ValueMatcher_ListMatch{ListMatch: &matcher.ListMatcher{MatchPattern: &matcher.ListMatcher_OneOf{OneOf: one}}}})
		}
		if text {
			any = append(any, one)
		}
	}
	if len(any) == 1 {
		return any[0] // Envoy wants two at least
	}
	return &matcher.ValueMatcher{MatchPattern: &matcher.ValueMatcher_OrMatch{OrMatch: &matcher.OrMatcher{ValueMatchers: any}}}
}
