package authz

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// holds reports whether a call meets a condition: one of Is, if there is any,
// and none of Not.
func holds(t model.AuthTerm, call Call) bool {
	has := func(v model.AuthValue) bool { return hasValue(t, v, call) }
	return (len(t.Is) == 0 || slices.ContainsFunc(t.Is, has)) && !slices.ContainsFunc(t.Not, has)
}

// miss says why a call does not meet a condition.
func miss(t model.AuthTerm, call Call) Miss {
	why := t.Name() + " is " + shown(t, call)
	if len(t.Is) == 0 || slices.ContainsFunc(t.Is, func(v model.AuthValue) bool { return hasValue(t, v, call) }) {
		why += ", which is excepted"
	}
	return Miss{At: t.At, Why: why}
}

func hasValue(t model.AuthTerm, v model.AuthValue, call Call) bool {
	switch t.Attr {
	case model.AuthSourceIP:
		return within(v.Range, call.Source)
	case model.AuthRemoteIP:
		return within(v.Range, call.Remote)
	case model.AuthDestinationIP:
		return within(v.Range, call.Destination)
	case model.AuthPort:
		return v.Port == call.Port
	case model.AuthRequestPrincipal:
		return claimHas(call.Claims["iss"], []model.StringMatch{*v.Issuer}) && claimHas(call.Claims["sub"], []model.StringMatch{*v.Subject})
	case model.AuthClaim:
		return claimHas(claim(call.Claims, t.Key), v.Matches)
	case model.AuthMetadata:
		return false // of a filter that users add
	default: // those that are a string
	}
	text, there := value(t, call)
	return there && slices.ContainsFunc(v.Matches, func(m model.StringMatch) bool {
		ofHeader := t.Attr == model.AuthHeader || t.Attr == model.AuthHost || t.Attr == model.AuthMethod
		return m.Kind == model.MatchPresent && ofHeader || matches(m, text)
	})
}

// value is an attribute that is a string; false: the call has none.
func value(t model.AuthTerm, call Call) (string, bool) {
	switch t.Attr {
	case model.AuthSNI:
		return call.ServerName, true
	case model.AuthHost:
		return call.Host, true
	case model.AuthMethod:
		return call.Method, true
	case model.AuthPath:
		path, _, _ := strings.Cut(call.Path, "?")
		return path, true
	case model.AuthHeader:
		if t.Key[0] == "host" {
			return call.Host, true
		}
		values, there := call.Headers[t.Key[0]]
		return strings.Join(values, ","), there
	default: // those of the certificate
	}
	return call.Identity, call.Identity != ""
}

// matches compares one string; "any" is one that is not empty.
func matches(m model.StringMatch, text string) bool {
	want := m.Value
	if m.IgnoreCase {
		want, text = strings.ToLower(want), strings.ToLower(text)
	}
	switch m.Kind {
	case model.MatchPresent:
		return text != ""
	case model.MatchPrefix:
		return strings.HasPrefix(text, want)
	case model.MatchSuffix:
		return strings.HasSuffix(text, want)
	case model.MatchRegex:
		re, err := regexp.Compile(`\A(?:` + m.Value + `)\z`)
		return err == nil && re.MatchString(text)
	default:
		return text == want
	}
}

// claim is what a path of names leads to; nil: nothing.
func claim(claims map[string]any, path []string) any {
	var at any = claims
	for _, name := range path {
		inner, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = inner[name]
	}
	return at
}

// claimHas compares a claim: a text, or one of a list.
func claimHas(have any, matching []model.StringMatch) bool {
	switch have := have.(type) {
	case string:
		return slices.ContainsFunc(matching, func(m model.StringMatch) bool { return matches(m, have) })
	case []any:
		return slices.ContainsFunc(have, func(one any) bool {
			text, ok := one.(string)
			return ok && claimHas(text, matching)
		})
	}
	return false
}

func within(p netip.Prefix, a netip.Addr) bool { return a.IsValid() && p.Contains(a.Unmap()) }

// shown is what a call has of an attribute, for people.
func shown(t model.AuthTerm, call Call) string {
	switch t.Attr {
	case model.AuthSourceIP:
		return address(call.Source)
	case model.AuthRemoteIP:
		return address(call.Remote)
	case model.AuthDestinationIP:
		return address(call.Destination)
	case model.AuthPort:
		return fmt.Sprint(call.Port)
	case model.AuthMetadata:
		return "not known here"
	case model.AuthRequestPrincipal:
		if call.Claims == nil {
			return "absent: there is no token"
		}
		return fmt.Sprintf("%q", fmt.Sprint(call.Claims["iss"], "/", call.Claims["sub"]))
	case model.AuthClaim:
		if have := claim(call.Claims, t.Key); have != nil {
			return fmt.Sprintf("%q", fmt.Sprint(have))
		}
		return "absent"
	default: // those that are a string
	}
	text, there := value(t, call)
	switch {
	case !there && t.Attr.OfCertificate():
		return "absent: the caller has proven no identity"
	case !there:
		return "absent"
	}
	return fmt.Sprintf("%q", text)
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return "not known"
	}
	return a.String()
}
