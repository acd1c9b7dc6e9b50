package compile

import (
	"slices"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// claims reports routes by claims of tokens at Gateways with pods that check no
// tokens: there, no request has a claim.
//
// Source: Istio's analysis message IST0149.
func (p population) claims(o *config.Object, v *model.VirtualService) []diag.Diagnostic {
	d := diag.For(o.Ref())
	told := map[string]bool{}
	for _, r := range v.HTTP {
		if len(r.Match.Claims) == 0 {
			continue
		}
		gateways := r.Scope.Gateways
		if gateways == nil {
			gateways = v.Gateways
		}
		for _, key := range gateways {
			gw, ok := p.mesh.Gateways.Get(key)
			if ok && !told[key] && slices.ContainsFunc(p.pods, func(pod podLabels) bool { return model.Selects(gw.Selector, pod.labels) && !p.checksTokens(pod) }) {
				d.Add(diag.TokensUnchecked, "spec.http", "no RequestAuthentication is for all pods of Gateway %s, so that no request has a claim there", key)
				told[key] = true
			}
		}
	}
	return d.All()
}

func (p population) checksTokens(pod podLabels) bool {
	for _, t := range p.mesh.TokenPolicies.All() {
		if model.Guarded(t, p.mesh.Settings.RootNamespace, &model.Workload{Namespace: pod.namespace, Labels: pod.labels}) {
			return true
		}
	}
	return false
}
