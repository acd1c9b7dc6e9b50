package translate

import (
	"regexp"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// route renders one route. operation names it in traces.
// Source: envoy.config.route.v3.Route.
func (b *builder) route(r *model.Route, operation string) *route.Route {
	to := onlyDestination(r)
	out := &route.Route{
		Name: r.Name, Match: match(r.Match), Metadata: objectMetadata(r.Origin), Decorator: &route.Decorator{Operation: operation},
		RequestHeadersToAdd:     slices.Concat(headersToAdd(r.Request), headersToAdd(to.Request)),
		RequestHeadersToRemove:  slices.Concat(r.Request.Remove, to.Request.Remove),
		ResponseHeadersToAdd:    slices.Concat(headersToAdd(r.Response), headersToAdd(to.Response)),
		ResponseHeadersToRemove: slices.Concat(r.Response.Remove, to.Response.Remove),
		TypedPerFilterConfig:    b.perRoute(r),
		StatPrefix:              r.StatPrefix,
	}
	switch a := r.Action.(type) {
	case *model.Forward:
		out.Action = &route.Route_Route{Route: b.forward(r, a)}
	case *model.Redirect:
		out.Action = &route.Route_Redirect{Redirect: redirect(a)}
	case *model.DirectResponse:
		out.Action = &route.Route_DirectResponse{DirectResponse: directResponse(a)}
	default: // a route to nothing: 503, never another destination
		out.Action = &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{Status: 503}}
	}
	return out
}

// matchAny is the match of routes without conditions. Nobody writes to it.
var matchAny = &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}}

// match renders the conditions of a route.
func match(m model.Match) *route.RouteMatch {
	if m.Path == nil && m.OnlyPath() {
		return matchAny
	}
	out := &route.RouteMatch{}
	pathMatch(out, m.Path)
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, headerMatch(h.Name, &h.StringMatch, h.Not))
	}
	for _, pseudo := range []struct {
		name string
		m    *model.StringMatch
	}{{":method", m.Method}, {":authority", m.Authority}, {":scheme", m.Scheme}} {
		if pseudo.m != nil {
			out.Headers = append(out.Headers, headerMatch(pseudo.name, pseudo.m, false))
		}
	}
	for _, q := range m.Query {
		out.QueryParameters = append(out.QueryParameters, queryMatch(q))
	}
	for _, c := range m.Claims {
		is := claim(c.Path, []model.StringMatch{c.StringMatch})
		is.Invert = c.Not
		out.DynamicMetadata = append(out.DynamicMetadata, is)
	}
	return out
}

// pathMatch sets what the path must be; nil is any. Suffixes have no form of
// their own in Envoy.
func pathMatch(out *route.RouteMatch, p *model.StringMatch) {
	if p == nil {
		p = &model.StringMatch{Kind: model.MatchPresent}
	}
	if p.IgnoreCase && p.Kind != model.MatchRegex && p.Kind != model.MatchPresent {
		out.CaseSensitive = wrapperspb.Bool(false)
	}
	switch p.Kind {
	case model.MatchPresent:
		out.PathSpecifier = &route.RouteMatch_Prefix{Prefix: "/"}
	case model.MatchExact:
		out.PathSpecifier = &route.RouteMatch_Path{Path: p.Value}
	case model.MatchPrefix:
		out.PathSpecifier = &route.RouteMatch_Prefix{Prefix: p.Value}
	case model.MatchSuffix:
		out.PathSpecifier = &route.RouteMatch_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: ".*" + regexp.QuoteMeta(p.Value)}}
	case model.MatchRegex:
		out.PathSpecifier = &route.RouteMatch_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: p.Value}}
	}
}

func headerMatch(name string, m *model.StringMatch, not bool) *route.HeaderMatcher {
	out := &route.HeaderMatcher{Name: name, InvertMatch: not}
	if m.Kind == model.MatchPresent {
		out.HeaderMatchSpecifier = &route.HeaderMatcher_PresentMatch{PresentMatch: true}
		return out
	}
	out.HeaderMatchSpecifier = &route.HeaderMatcher_StringMatch{StringMatch: stringMatch(m)}
	// An absent header is different from any value.
	out.TreatMissingHeaderAsEmpty = not
	return out
}

func queryMatch(q model.QueryMatch) *route.QueryParameterMatcher {
	out := &route.QueryParameterMatcher{Name: q.Name}
	if q.Kind == model.MatchPresent {
		out.QueryParameterMatchSpecifier = &route.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	} else {
		out.QueryParameterMatchSpecifier = &route.QueryParameterMatcher_StringMatch{StringMatch: stringMatch(&q.StringMatch)}
	}
	return out
}

func stringMatch(m *model.StringMatch) *matcher.StringMatcher {
	out := &matcher.StringMatcher{IgnoreCase: m.IgnoreCase && m.Kind != model.MatchRegex}
	switch m.Kind {
	case model.MatchPrefix:
		out.MatchPattern = &matcher.StringMatcher_Prefix{Prefix: m.Value}
	case model.MatchSuffix:
		out.MatchPattern = &matcher.StringMatcher_Suffix{Suffix: m.Value}
	case model.MatchRegex:
		out.MatchPattern = &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: m.Value}}
	default:
		out.MatchPattern = &matcher.StringMatcher_Exact{Exact: m.Value}
	}
	return out
}

// redirect answers with another location.
func redirect(r *model.Redirect) *route.RedirectAction {
	out := &route.RedirectAction{HostRedirect: r.Authority, ResponseCode: redirectCode(r.Code)}
	switch {
	case r.Path != "":
		out.PathRewriteSpecifier = &route.RedirectAction_PathRedirect{PathRedirect: r.Path}
	case r.Prefix != "":
		out.PathRewriteSpecifier = &route.RedirectAction_PrefixRewrite{PrefixRewrite: r.Prefix}
	}
	if r.Scheme != "" {
		out.SchemeRewriteSpecifier = &route.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	out.PortRedirect = r.Port
	return out
}

func redirectCode(code uint32) route.RedirectAction_RedirectResponseCode {
	switch code {
	case 302:
		return route.RedirectAction_FOUND
	case 303:
		return route.RedirectAction_SEE_OTHER
	case 307:
		return route.RedirectAction_TEMPORARY_REDIRECT
	case 308:
		return route.RedirectAction_PERMANENT_REDIRECT
	default:
		return route.RedirectAction_MOVED_PERMANENTLY
	}
}

func directResponse(d *model.DirectResponse) *route.DirectResponseAction {
	out := &route.DirectResponseAction{Status: d.Status}
	if len(d.Body) > 0 {
		out.Body = inlineBytes(d.Body)
	}
	return out
}

// headersToAdd are the headers to set and to add; Envoy removes before it adds.
func headersToAdd(ops model.HeaderOps) (out []*core.HeaderValueOption) {
	for _, h := range ops.Set {
		if !isAuthority(h.Name) {
			out = append(out, headerOption(h, core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
		}
	}
	for _, h := range ops.Add {
		if !isAuthority(h.Name) {
			out = append(out, headerOption(h, core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
		}
	}
	return out
}

func headerOption(h model.Header, action core.HeaderValueOption_HeaderAppendAction) *core.HeaderValueOption {
	return &core.HeaderValueOption{Header: &core.HeaderValue{Key: h.Name, Value: h.Value}, AppendAction: action}
}

// isAuthority reports whether a header is the request's host, which Envoy
// changes by a rewrite only.
func isAuthority(name string) bool { return strings.EqualFold(name, "host") || name == ":authority" }

// authorityOf is the host that ops set; empty if none.
func authorityOf(ops model.HeaderOps) (host string) {
	for _, h := range ops.Set {
		if isAuthority(h.Name) {
			host = h.Value
		}
	}
	return host
}

func millionths(n uint32) *xtype.FractionalPercent {
	return &xtype.FractionalPercent{Numerator: n, Denominator: xtype.FractionalPercent_MILLION}
}

func runtimeMillionths(n uint32) *core.RuntimeFractionalPercent {
	return &core.RuntimeFractionalPercent{DefaultValue: millionths(n)}
}
