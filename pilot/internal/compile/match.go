package compile

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// match reads one http[].match[]. If a part of it cannot be honoured the whole
// match is left out: without that part it would take more requests than meant.
//
// Source: istio.io/api networking/v1alpha3, message HTTPMatchRequest.
func (c *routing) match(in *networking.HTTPMatchRequest, at diag.Path) (m model.Match, s model.Scope, ok bool) {
	before := len(c.d.All())
	m.Path = c.path(in, at)
	m.Scheme = c.whole(in.GetScheme(), at.Field("scheme"))
	m.Method = c.whole(in.GetMethod(), at.Field("method"))
	m.Authority = c.whole(in.GetAuthority(), at.Field("authority"))
	m.Headers = append(c.headerMatches(in.GetHeaders(), at.Field("headers"), false),
		c.headerMatches(in.GetWithoutHeaders(), at.Field("withoutHeaders"), true)...)
	for _, name := range slices.Sorted(maps.Keys(in.GetQueryParams())) {
		if at := at.Field("queryParams").Key(name); name == "" {
			c.d.Add(diag.Invalid, at, "the parameter's name is empty")
		} else if sm, ok := c.present(in.GetQueryParams()[name], at); ok {
			m.Query = append(m.Query, model.QueryMatch{Name: name, StringMatch: sm})
		}
	}
	s = c.scope(in, at)
	c.claimMatches(in, &m, s, at)
	return m, s, errorsSince(c.d, before) == 0
}

func errorsSince(d *diag.List, before int) (n int) {
	for _, f := range d.All()[before:] {
		if f.Severity == diag.Error {
			n++
		}
	}
	return n
}

// scope reads the parts of a match that are settled when a View is made.
func (c *routing) scope(in selecting, at diag.Path) (s model.Scope) {
	if s.Port = in.GetPort(); s.Port > 65535 {
		checkPort(s.Port, at.Field("port"), c.d)
	}
	if len(in.GetSourceLabels()) > 0 {
		s.SourceLabels = in.GetSourceLabels()
	}
	if s.SourceNamespace = in.GetSourceNamespace(); s.SourceNamespace != "" && !hostname.IsLabel(s.SourceNamespace) {
		c.d.Add(diag.Invalid, at.Field("sourceNamespace"), "%q is not a namespace", s.SourceNamespace)
	}
	if len(in.GetGateways()) > 0 {
		s.Gateways = c.gateways(in.GetGateways(), at.Field("gateways"))
	}
	return s
}

// path reads match.uri. An empty prefix is every path, as Istio allows it.
func (c *routing) path(in *networking.HTTPMatchRequest, at diag.Path) *model.StringMatch {
	uri := in.GetUri()
	if uri.GetMatchType() == nil {
		return nil
	}
	out, ok := c.stringMatch(uri, at.Field("uri"))
	if !ok {
		return nil
	}
	out.IgnoreCase = in.GetIgnoreUriCase() && out.Kind != model.MatchRegex
	if in.GetIgnoreUriCase() && out.Kind == model.MatchRegex {
		c.d.Add(diag.NoEffect, at.Field("ignoreUriCase"), "a regex is not changed by ignoreUriCase; write (?i) into it")
	}
	return &out
}

// whole reads a match of a part that every request has; nil for none.
func (c *routing) whole(in *networking.StringMatch, at diag.Path) *model.StringMatch {
	if in.GetMatchType() == nil {
		return nil
	}
	out, ok := c.present(in, at)
	if !ok {
		return nil
	}
	return &out
}

func (c *routing) headerMatches(in map[string]*networking.StringMatch, at diag.Path, not bool) (out []model.HeaderMatch) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		at := at.Key(name)
		switch {
		case ofClaim(name):
			continue
		case !slices.Contains(pseudoHeaders, name) && !checkHeaderName(name, at, c.d):
			continue
		}
		if sm, ok := c.present(in[name], at); ok {
			out = append(out, model.HeaderMatch{Name: strings.ToLower(name), StringMatch: sm, Not: not})
		}
	}
	return out
}

var pseudoHeaders = []string{":method", ":scheme", ":authority", ":path"}

// present reads a match of a header or parameter, where none, and the regex
// "*", mean that it is there at all.
func (c *routing) present(in *networking.StringMatch, at diag.Path) (model.StringMatch, bool) {
	if in.GetMatchType() == nil || in.GetRegex() == "*" {
		return model.StringMatch{Kind: model.MatchPresent}, true
	}
	if m, ok := in.GetMatchType().(*networking.StringMatch_Prefix); ok && m.Prefix == "" {
		// Envoy refuses an empty prefix here.
		c.d.Add(diag.Invalid, at.Field("prefix"), "the prefix is empty")
		return model.StringMatch{}, false
	}
	return c.stringMatch(in, at)
}

func (c *routing) stringMatch(in *networking.StringMatch, at diag.Path) (model.StringMatch, bool) {
	switch m := in.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return model.StringMatch{Kind: model.MatchExact, Value: m.Exact}, checkText(m.Exact, at.Field("exact"), c.d)
	case *networking.StringMatch_Prefix:
		return model.StringMatch{Kind: model.MatchPrefix, Value: m.Prefix}, checkText(m.Prefix, at.Field("prefix"), c.d)
	case *networking.StringMatch_Regex:
		return model.StringMatch{Kind: model.MatchRegex, Value: m.Regex}, checkRegex(m.Regex, at.Field("regex"), c.d)
	}
	return model.StringMatch{}, false
}

// statPrefix reads match.statPrefix, a part of the names of Envoy's statistics.
func (c *routing) statPrefix(in string, at diag.Path) string {
	if !checkText(in, at.Field("statPrefix"), c.d) {
		return ""
	}
	return in
}
