package model

import (
	"iter"
	"slices"
	"strings"
)

// AskedByGRPC reports whether a gRPC library without a proxy can ask for the
// attribute as a sidecar would.
func (t AuthTerm) AskedByGRPC() bool { return t.WhyNotGRPC() == "" }

// WhyNotGRPC says why a gRPC library cannot ask for the attribute; "" if it can.
// Source: gRFC A41.
func (t AuthTerm) WhyNotGRPC() string {
	switch t.Attr {
	case AuthPrincipal, AuthNamespace, AuthServiceAccount, AuthTrustDomain, AuthSourceIP, AuthDestinationIP, AuthPort, AuthHost, AuthMethod, AuthPath:
		return ""
	case AuthRequestPrincipal, AuthClaim:
		return "a gRPC library checks no tokens"
	case AuthRemoteIP:
		return "a gRPC library knows the address of who dialled, not of who was forwarded"
	case AuthSNI:
		return "a gRPC library does not keep the server name"
	case AuthMetadata:
		return "it is of an Envoy filter"
	case AuthHeader:
		if slices.ContainsFunc(t.Key, hiddenByGRPC) {
			return "a gRPC library keeps the header to itself, or decodes it"
		}
		return ""
	}
	return "a gRPC library does not know it"
}

// Name is that of the attribute, as a condition has it.
func (t AuthTerm) Name() string {
	if len(t.Key) == 0 {
		return string(t.Attr)
	}
	return string(t.Attr) + "[" + strings.Join(t.Key, "][") + "]"
}

// Terms are all that the rule asks for.
func (r AuthRule) Terms() iter.Seq[AuthTerm] {
	return func(yield func(AuthTerm) bool) {
		for _, terms := range slices.Concat(r.From, r.To, []AuthTerms{r.When}) {
			for _, t := range terms {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// hiddenByGRPC: of a header that its rules must not name, that it keeps to
// itself, or whose value it decodes before the rules see it.
func hiddenByGRPC(name string) bool {
	return strings.HasPrefix(name, "grpc-") || strings.HasSuffix(name, "-bin") || slices.Contains([]string{"te", "connection"}, name)
}

// ForGRPC gives the rule as a gRPC library can ask it: a DENY is wider by what
// it cannot ask, an ALLOW that asks for it takes none, and is false.
func (r AuthRule) ForGRPC(action AuthAction) (AuthRule, bool) {
	out, ok := r.without(action, func(t AuthTerm) bool { return !t.AskedByGRPC() })
	out.From, out.To, out.When = eachTerms(out.From, forGRPC), eachTerms(out.To, forGRPC), forGRPC(out.When)
	return out, ok
}

// forGRPC writes what gRPC has another word for: it knows the host by one name
// alone, and takes an empty header for none.
func forGRPC(terms AuthTerms) AuthTerms {
	out := slices.Clone(terms)
	for i, t := range out {
		if t.Attr == AuthHeader && t.Key[0] == "host" {
			out[i].Key = []string{":authority"}
		}
		if t.Attr == AuthHeader || t.Attr == AuthHost {
			out[i].Is, out[i].Not = evenEmpty(t.Is), evenEmpty(t.Not)
		}
	}
	return out
}

// evenEmpty makes of "any value" a pattern that an empty one has too.
func evenEmpty(values []AuthValue) []AuthValue {
	out := slices.Clone(values)
	for i, v := range out {
		out[i].Matches = slices.Clone(v.Matches)
		for j, m := range v.Matches {
			if m.Kind == MatchPresent {
				out[i].Matches[j] = StringMatch{Kind: MatchRegex, Value: ".*"}
			}
		}
	}
	return out
}
