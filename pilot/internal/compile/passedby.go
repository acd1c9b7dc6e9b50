package compile

import (
	"slices"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// passedBy: a policy for a gateway some of whose connections no policy is asked
// about.
var passedBy = diag.Finding{Code: "WEFT0203", Severity: diag.Warning, Cure: "write the policy for the workloads that the connections go to: their proxies end the TLS"}

// passingGateways emits the selectors of Gateways that pass mesh mTLS on.
func passingGateways(_ *memo.Reader, _ string, g *model.Gateway, emit memo.Emit[bool]) {
	auto := func(s model.Server) bool { return s.TLS != nil && s.TLS.Mode == model.ServerAutoPassthrough }
	if len(g.Selector) > 0 && slices.ContainsFunc(g.Servers, auto) {
		emit(model.FormatLabels(g.Selector), true)
	}
}

// checkAuthorization gives the findings that depend on other objects.
func checkAuthorization(p *model.Authorization, in scope, d *diag.List) {
	checkAuthorizer(p, in, d)
	if len(p.Selectors) == 0 {
		return
	}
	for labels := range memo.All(in.r, &in.c.passers.Cell).All() {
		gateway := model.ParseLabels(labels)
		if slices.ContainsFunc(p.Selectors, func(s map[string]string) bool { return model.Selects(s, gateway) || model.Selects(gateway, s) }) {
			d.Add(passedBy, "spec.selector", "a Gateway of the pods with %s has a server of mode AUTO_PASSTHROUGH: its connections are passed on as they are, and the policy is not asked about them", labels)
		}
	}
}

// maxPolicyValues bounds what one policy asks for: a proxy compares one after
// another, at each request.
const maxPolicyValues = 100_000

// policyTooLarge: what it asks for would not be found in time.
var policyTooLarge = diag.Finding{Code: "WEFT0204", Severity: diag.Error, Cure: "take the policy apart, or use fewer values with wildcards; until then it denies everything"}

// valuesOf is how many rules and values a policy has.
func valuesOf(p *model.Authorization) (n int) {
	for _, r := range p.Rules {
		for t := range r.Terms() {
			n += len(t.Is) + len(t.Not)
		}
	}
	return n + len(p.Rules)
}

// bounded gives a policy, or one that denies all where it is too large.
func bounded(p *model.Authorization, d *diag.List) *model.Authorization {
	if n := valuesOf(p); n > maxPolicyValues {
		d.Add(policyTooLarge, "spec.rules", "%d rules and values; a policy may have %d, so it denies every request to %s", n, maxPolicyValues, whose(p))
		p.Action, p.Rules, p.DryRun = model.AuthDeny, []model.AuthRule{{}}, false
	}
	return p
}
