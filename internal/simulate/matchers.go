package simulate

import (
	"regexp"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// fullMatch compiles an RE2 expression that must match the whole input, as
// all of Envoy's regular expressions must. Go's and RE2's syntax are the same.
func fullMatch(expr string) (*regexp.Regexp, error) {
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}

// matchString evaluates envoy.type.matcher.v3.StringMatcher. ignore_case does
// not bear on regular expressions.
func matchString(m *matcher.StringMatcher, value string) (bool, error) {
	if err := checkKnown(m); err != nil {
		return false, err
	}
	fold := func(s string) string { return s }
	if m.GetIgnoreCase() {
		fold = strings.ToLower
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcher.StringMatcher_Exact:
		return fold(value) == fold(p.Exact), nil
	case *matcher.StringMatcher_Prefix:
		return strings.HasPrefix(fold(value), fold(p.Prefix)), nil
	case *matcher.StringMatcher_Suffix:
		return strings.HasSuffix(fold(value), fold(p.Suffix)), nil
	case *matcher.StringMatcher_Contains:
		return strings.Contains(fold(value), fold(p.Contains)), nil
	case *matcher.StringMatcher_SafeRegex:
		return matchRegex(p.SafeRegex, value)
	}
	return false, unknown("string matcher %T", m.GetMatchPattern())
}

func matchRegex(m *matcher.RegexMatcher, value string) (bool, error) {
	re, err := fullMatch(m.GetRegex())
	if err != nil {
		return false, err
	}
	return re.MatchString(value), nil
}

// matchHeader evaluates envoy.config.route.v3.HeaderMatcher on the values of a
// header, one for each line; none is an absent header, which matches nothing
// but the absence that it is asked for, inverted or not. Envoy 1.40 looks at
// each line by itself and is content with one (it does not join them).
func matchHeader(m *route.HeaderMatcher, values []string) (bool, error) {
	if err := checkKnown(m); err != nil {
		return false, err
	}
	if len(values) == 0 && m.GetTreatMissingHeaderAsEmpty() {
		values = []string{""}
	}
	there := len(values) > 0
	switch p := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		return there != m.GetInvertMatch(), nil
	case *route.HeaderMatcher_PresentMatch:
		return (there == p.PresentMatch) != m.GetInvertMatch(), nil
	}
	if !there {
		return false, nil
	}
	for _, value := range values {
		if matched, err := matchHeaderValue(m, value); err != nil || matched {
			return matched != m.GetInvertMatch(), err
		}
	}
	return m.GetInvertMatch(), nil
}

func matchHeaderValue(m *route.HeaderMatcher, value string) (bool, error) {
	switch p := m.GetHeaderMatchSpecifier().(type) {
	case *route.HeaderMatcher_StringMatch:
		return matchString(p.StringMatch, value)
	case *route.HeaderMatcher_ExactMatch:
		return p.ExactMatch == "" || value == p.ExactMatch, nil
	case *route.HeaderMatcher_SafeRegexMatch:
		return matchRegex(p.SafeRegexMatch, value)
	case *route.HeaderMatcher_PrefixMatch:
		return strings.HasPrefix(value, p.PrefixMatch), nil
	case *route.HeaderMatcher_SuffixMatch:
		return strings.HasSuffix(value, p.SuffixMatch), nil
	case *route.HeaderMatcher_ContainsMatch:
		return strings.Contains(value, p.ContainsMatch), nil
	case *route.HeaderMatcher_RangeMatch:
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		return err == nil && n >= p.RangeMatch.GetStart() && n < p.RangeMatch.GetEnd(), nil
	}
	return false, unknown("header matcher %T", m.GetHeaderMatchSpecifier())
}

// matchHeaders says whether all of ms match the request.
func (w walk) matchHeaders(ms []*route.HeaderMatcher) (bool, error) {
	for _, m := range ms {
		if matched, err := matchHeader(m, w.values(m.GetName())); err != nil || !matched {
			return false, err
		}
	}
	return true, nil
}

// matchQuery evaluates the query parameter matchers on a path. Envoy compares
// the first value of a name, undecoded.
func matchQuery(ms []*route.QueryParameterMatcher, path string) (bool, error) {
	if len(ms) == 0 {
		return true, nil
	}
	params := map[string]string{}
	_, query, _ := strings.Cut(path, "?")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if _, seen := params[name]; !seen && pair != "" {
			params[name] = value
		}
	}
	for _, m := range ms {
		if matched, err := matchParameter(m, params); err != nil || !matched {
			return false, err
		}
	}
	return true, nil
}

func matchParameter(m *route.QueryParameterMatcher, params map[string]string) (bool, error) {
	if err := checkKnown(m); err != nil {
		return false, err
	}
	value, ok := params[m.GetName()]
	switch p := m.GetQueryParameterMatchSpecifier().(type) {
	case nil:
		return ok, nil
	case *route.QueryParameterMatcher_PresentMatch:
		return ok == p.PresentMatch, nil
	case *route.QueryParameterMatcher_StringMatch:
		if !ok {
			return false, nil
		}
		return matchString(p.StringMatch, value)
	}
	return false, unknown("query parameter matcher %T", m.GetQueryParameterMatchSpecifier())
}

// cookies are those of the request, the first of each name.
func (w walk) cookies() map[string]string {
	cookies := map[string]string{}
	for _, line := range w.out.Request.Headers["cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if _, seen := cookies[name]; !seen {
				cookies[name] = strings.Trim(value, `"`)
			}
		}
	}
	return cookies
}

// matchCookies evaluates cookie matchers; a cookie that is absent matches only
// when inverted.
func (w walk) matchCookies(ms []*route.CookieMatcher) (bool, error) {
	if len(ms) == 0 {
		return true, nil
	}
	cookies := w.cookies()
	for _, m := range ms {
		if err := checkKnown(m); err != nil {
			return false, err
		}
		value, ok := cookies[m.GetName()]
		matched := false
		if ok {
			var err error
			if matched, err = matchString(m.GetStringMatch(), value); err != nil {
				return false, err
			}
		}
		if matched == m.GetInvertMatch() {
			return false, nil
		}
	}
	return true, nil
}

// chance is a fractional percent as a probability; the zero value is 0.
func chance(p *typev3.FractionalPercent) (float64, error) {
	denominator, ok := map[typev3.FractionalPercent_DenominatorType]float64{
		typev3.FractionalPercent_HUNDRED:      100,
		typev3.FractionalPercent_TEN_THOUSAND: 10_000,
		typev3.FractionalPercent_MILLION:      1_000_000,
	}[p.GetDenominator()]
	if !ok {
		return 0, unknown("denominator %v", p.GetDenominator())
	}
	return min(1, float64(p.GetNumerator())/denominator), nil
}

// runtimeChance is the chance of a runtime fraction while no runtime key is
// set, as in Weft; a nil p is 1.
func runtimeChance(p *core.RuntimeFractionalPercent) (float64, error) {
	if p == nil {
		return 1, nil
	}
	return chance(p.GetDefaultValue())
}
