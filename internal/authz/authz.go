// Package authz says what AuthorizationPolicies make of a call, and why.
//
// In: the compiled policies that hold for a server, as package model has them,
// and a Call as its proxy sees it. Out: a Verdict with the rule that decided and,
// of each other rule, the first condition that the call does not meet. It is
// pure. It imports model, urlpath and the standard library, so that it
// shares no mistake with what is made for Envoy: a test holds both together.
package authz

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/model"
)

// Call is a request, or a connection where Bytes is set, as the server's proxy
// sees it.
type Call struct {
	// Identity is the SPIFFE URI that the caller's certificate proved; empty:
	// none did.
	Identity string
	// Source is who dialled, Remote whom the request is from.
	Source, Remote netip.Addr
	// Destination is the server's own address, Port that it was dialled at.
	Destination netip.Addr
	Port        uint32
	ServerName  string // of TLS
	// Bytes: no request that the proxy could read; the fields below are unused.
	Bytes              bool
	Method, Host, Path string // the Path is normalised; its query does not count
	// Headers by lower-case name.
	Headers map[string][]string
	// Claims are those of a token that was checked; nil: there is none.
	Claims map[string]any
}

// Verdict is what policies make of a call.
type Verdict struct {
	Allowed bool `json:"allowed"`
	// Reason in words.
	Reason string `json:"reason"`
	// By is the policy whose rule decided, "namespace/name", and Rule its index;
	// empty: none did.
	By   string `json:"policy,omitempty"`
	Rule int    `json:"rule"`
	// Asks are the external authorizers that are asked first; one that says no
	// denies the call.
	Asks []string `json:"asks,omitempty"`
	// Policies are all that hold for the server, in the order in which they are
	// asked.
	Policies []Policy `json:"policies"`
}

// Policy is what one policy makes of a call.
type Policy struct {
	Name   string           `json:"name"` // namespace/name
	Action model.AuthAction `json:"action"`
	// DryRun: it decides nothing.
	DryRun bool `json:"dryRun,omitempty"`
	Takes  bool `json:"takes"`
	// Rules up to the first that takes the call.
	Rules []Rule `json:"rules"`
}

// Rule is what one rule makes of a call.
type Rule struct {
	Index int  `json:"index"`
	Takes bool `json:"takes"`
	// Misses are conditions that the call does not meet: of each entry of from, or
	// of to, the first, or of when.
	Misses []Miss `json:"misses,omitempty"`
}

// Miss is a condition that a call does not meet.
type Miss struct {
	At  string `json:"at"`  // "spec.rules[0].from[0].source.principals"
	Why string `json:"why"` // `source.principal is "spiffe://..."`
}

// order is that in which policies are asked.
// Source: istio.io/api security/v1beta1, AuthorizationPolicy.Action.
var order = []model.AuthAction{model.AuthCustom, model.AuthAudit, model.AuthDeny, model.AuthAllow}

// Explain asks the policies that hold for a server. reachable says whether there
// is an external authorizer of a name that the proxy can ask about the call.
func Explain(policies []*model.Authorization, call Call, reachable func(name string) bool) Verdict {
	out := Verdict{Allowed: true, Reason: "no policy denies it", Policies: []Policy{}}
	sorted := slices.Clone(policies)
	slices.SortStableFunc(sorted, func(a, b *model.Authorization) int {
		return slices.Index(order, a.Action) - slices.Index(order, b.Action)
	})
	allows, decided := false, false
	for _, p := range sorted {
		one := policy(p, call)
		out.Policies = append(out.Policies, one)
		allows = allows || p.Action == model.AuthAllow && p.Decides()
		if !one.Takes || !p.Decides() || decided {
			continue
		}
		by := func(allowed bool, reason string) {
			decided, out.Allowed, out.Reason, out.By, out.Rule = true, allowed, reason, one.Name, one.Rules[len(one.Rules)-1].Index
		}
		switch {
		case p.Action == model.AuthDeny:
			by(false, "a rule denies it")
		case p.Action == model.AuthAllow:
			by(true, "a rule allows it")
		case p.Action == model.AuthCustom && !reachable(p.Provider):
			by(false, "a rule has an external authorizer asked, and none can be")
		case p.Action == model.AuthCustom && !slices.Contains(out.Asks, p.Provider):
			out.Asks = append(out.Asks, p.Provider)
		}
	}
	if allows && !decided {
		out.Allowed, out.Reason = false, "there are policies that allow, and no rule of them takes it"
	}
	return out
}

func policy(p *model.Authorization, call Call) Policy {
	out := Policy{Name: p.Key(), Action: p.Action, DryRun: p.DryRun, Rules: []Rule{}}
	for _, r := range p.Rules {
		one := rule(p.Action, r, call)
		out.Rules = append(out.Rules, one)
		if out.Takes = one.Takes; one.Takes {
			break
		}
	}
	return out
}

func rule(action model.AuthAction, r model.AuthRule, call Call) Rule {
	out := Rule{Index: r.Index}
	if call.Bytes {
		asked, ok := r.ForBytes(action)
		if !ok {
			for t := range r.Terms() {
				if t.Attr.OnlyHTTP() {
					out.Misses = append(out.Misses, Miss{t.At, t.Name() + " is asked of requests only, and this is none"})
					break
				}
			}
			return out
		}
		r = asked
	}
	for _, entries := range [][]model.AuthTerms{r.From, r.To, {r.When}} {
		if misses := unmet(entries, call); len(misses) > 0 {
			out.Misses = misses
			return out
		}
	}
	out.Takes = true
	return out
}

// unmet gives of each entry the first condition that is not met; none if one entry
// is met, or there is none.
func unmet(entries []model.AuthTerms, call Call) (misses []Miss) {
	for _, terms := range entries {
		at := slices.IndexFunc(terms, func(t model.AuthTerm) bool { return !holds(t, call) })
		if at < 0 {
			return nil
		}
		misses = append(misses, miss(terms[at], call))
	}
	return misses
}
