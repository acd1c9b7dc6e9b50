package model

import (
	"net/netip"
	"slices"
)

// AuthAction is what an AuthorizationPolicy does with what its rules take.
type AuthAction string

// The actions, as they are written. Of all policies that hold for a proxy DENY
// is asked before ALLOW; where there is any ALLOW, what none takes is denied.
// Source: istio.io/api security/v1beta1, AuthorizationPolicy.Action.
const (
	AuthAllow AuthAction = "ALLOW"
	AuthDeny  AuthAction = "DENY"
	AuthAudit AuthAction = "AUDIT" // only marks the request for the log
	// AuthCustom has an external authorizer asked, before anything else.
	AuthCustom AuthAction = "CUSTOM"
)

// Authorization is one compiled AuthorizationPolicy.
type Authorization struct {
	Namespace, Name string
	Origin          Origin
	// Selectors are labels that select workloads, those of one of them; nil: all
	// of its namespace, or of the mesh in the root namespace.
	Selectors []map[string]string
	Action    AuthAction
	// Provider is the name of the Authorizer of a CUSTOM policy. What the policy
	// takes is denied where there is none of the name.
	Provider string
	// DryRun: it decides nothing; what it would decide is counted.
	DryRun bool
	// Rules: one of them takes a request; empty: none is taken.
	Rules []AuthRule
}

// Key is "namespace/name".
func (a *Authorization) Key() string { return a.Namespace + "/" + a.Name }

// Decides reports whether the policy takes or denies anything itself.
func (a *Authorization) Decides() bool { return a.Action != AuthAudit && !a.DryRun }

// Guards says for which servers the policy is.
func (a *Authorization) Guards() (namespace string, selectors []map[string]string) {
	return a.Namespace, a.Selectors
}

// AuthRule takes a request that one of From, one of To and all of When hold for.
type AuthRule struct {
	// Index of the rule in the object, by which it is named.
	Index    int
	From, To []AuthTerms // empty: anyone, anything
	When     AuthTerms
}

// AuthTerms are conditions that must all hold.
type AuthTerms []AuthTerm

// AuthTerm asks for one attribute: it must be one of Is, if there is any, and
// none of Not.
type AuthTerm struct {
	Attr AuthAttr
	// Key is a header's name, the path of a claim, or an Envoy filter and the key
	// of its metadata; nil for other attributes.
	Key     []string
	Is, Not []AuthValue
	// At is where the object says it, such as "spec.rules[0].when[1].values".
	At string
}

// AuthValue is one value that an attribute may have.
type AuthValue struct {
	// Matches are of strings, one of which must hold. For identities they are of
	// the whole SPIFFE URI.
	Matches []StringMatch
	// Range of addresses, for AuthSourceIP, AuthRemoteIP and AuthDestinationIP.
	Range netip.Prefix
	// Port, for AuthPort.
	Port uint32
	// Issuer and Subject of a token, for AuthRequestPrincipal.
	Issuer, Subject *StringMatch
	// List: the metadata is a list, of which one element must match.
	List bool
}

// AuthAttr is an attribute of a request or a connection.
type AuthAttr string

// The attributes, by the names of conditions; those of operations have none of
// their own. Source: Istio's page "Authorization Policy Conditions".
const (
	AuthPrincipal        AuthAttr = "source.principal"
	AuthNamespace        AuthAttr = "source.namespace"
	AuthServiceAccount   AuthAttr = "source.serviceAccount"
	AuthTrustDomain      AuthAttr = "source.trustDomain"
	AuthSourceIP         AuthAttr = "source.ip"
	AuthRemoteIP         AuthAttr = "remote.ip"
	AuthDestinationIP    AuthAttr = "destination.ip"
	AuthPort             AuthAttr = "destination.port"
	AuthSNI              AuthAttr = "connection.sni"
	AuthMetadata         AuthAttr = "experimental.envoy.filters"
	AuthHeader           AuthAttr = "request.headers"
	AuthRequestPrincipal AuthAttr = "request.auth.principal"
	AuthClaim            AuthAttr = "request.auth.claims"
	AuthHost             AuthAttr = "host"
	AuthMethod           AuthAttr = "method"
	AuthPath             AuthAttr = "path"
)

// OnlyHTTP reports whether requests have the attribute and mere connections do
// not.
func (a AuthAttr) OnlyHTTP() bool {
	return slices.Contains([]AuthAttr{AuthHeader, AuthRequestPrincipal, AuthClaim, AuthHost, AuthMethod, AuthPath}, a)
}

// OfCertificate reports whether the caller's certificate says the attribute.
func (a AuthAttr) OfCertificate() bool {
	return slices.Contains([]AuthAttr{AuthPrincipal, AuthNamespace, AuthServiceAccount, AuthTrustDomain}, a)
}

// OfCaller reports whether the attribute is of who asks, not of what is asked
// for.
func (a AuthAttr) OfCaller() bool {
	return !slices.Contains([]AuthAttr{AuthDestinationIP, AuthPort, AuthSNI, AuthHost, AuthMethod, AuthPath}, a)
}

// ForBytes gives the rule as it holds for connections that are no HTTP: a DENY
// or AUDIT is wider by what cannot be asked of them, an ALLOW that asks for it
// takes none, and is false.
// Source: Istio's task "TCP Traffic", "HTTP-only fields".
func (r AuthRule) ForBytes(action AuthAction) (AuthRule, bool) {
	return r.without(action, func(t AuthTerm) bool { return t.Attr.OnlyHTTP() })
}

// without gives the rule where some terms cannot be asked; false: it takes none.
func (r AuthRule) without(action AuthAction, cannot func(AuthTerm) bool) (AuthRule, bool) {
	out, lost := r, false
	strip := func(terms AuthTerms) (left AuthTerms) {
		for _, t := range terms {
			if cannot(t) {
				lost = true
				continue
			}
			left = append(left, t)
		}
		return left
	}
	out.From, out.To, out.When = eachTerms(r.From, strip), eachTerms(r.To, strip), strip(r.When)
	return out, !lost || action != AuthAllow
}

// ForUnproven gives the rule as it holds for callers who proved no name, whatever
// certificate they show: as for those without one, what asks for a name is not
// met, and what excepts names is. It is false where the rule takes no such caller.
func (r AuthRule) ForUnproven(AuthAction) (AuthRule, bool) {
	out, from := r, []AuthTerms(nil)
	for _, terms := range r.From {
		if left, ok := terms.unproven(); ok {
			from = append(from, left)
		}
	}
	when, ok := r.When.unproven()
	out.From, out.When = from, when
	return out, ok && len(from) > 0 == (len(r.From) > 0)
}

func (all AuthTerms) unproven() (left AuthTerms, ok bool) {
	for _, t := range all {
		switch {
		case !t.Attr.OfCertificate():
			left = append(left, t)
		case len(t.Is) > 0:
			return nil, false
		}
	}
	return left, true
}

func eachTerms(lists []AuthTerms, f func(AuthTerms) AuthTerms) (out []AuthTerms) {
	for _, terms := range lists {
		out = append(out, f(terms))
	}
	return out
}
