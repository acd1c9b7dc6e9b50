package pilot

import (
	"cmp"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// guards reports what of the AuthorizationPolicies for a pod of a service its
// gRPC library cannot enforce, once for each policy, and the ports at which
// nothing does.
func (p *proxyless) guards(s *model.Service, w model.Workload) {
	for _, a := range p.mesh.Authorizations.All() {
		if !model.Guarded(a, p.mesh.Settings.RootNamespace, &w) {
			continue
		}
		o, ok := p.set.Of(config.AuthorizationPolicy).Get(a.Key())
		if !ok {
			continue
		}
		d := diag.For(o.Ref())
		if !p.said[a.Origin.Source()] {
			p.said[a.Origin.Source()] = true
			unasked(a, w, d)
		}
		if key := a.Origin.Source() + " " + s.Key(); a.Decides() && !p.said[key] {
			p.said[key] = true
			open(s, w, d)
		}
		p.out = append(p.out, d.All()...)
	}
}

// tokens reports the RequestAuthentications for a pod: its gRPC library checks
// none, once for each policy.
func (p *proxyless) tokens(w model.Workload) {
	for _, t := range p.mesh.TokenPolicies.All() {
		if !model.Guarded(t, p.mesh.Settings.RootNamespace, &w) || p.said[t.Origin.Source()] {
			continue
		}
		if o, ok := p.set.Of(config.RequestAuthentication).Get(t.Key()); ok {
			p.said[t.Origin.Source()] = true
			d := diag.For(o.Ref())
			d.Add(diag.ProxylessTokens, "", "%s serves without a proxy, where no token is checked: a wrong one passes as if there were none", podTitle(w))
			p.out = append(p.out, d.All()...)
		}
	}
}

// unasked reports what of a policy a gRPC library cannot ask.
func unasked(a *model.Authorization, w model.Workload, d *diag.List) {
	if !a.Decides() {
		what := string(a.Action)
		if a.DryRun {
			what = "a dry run"
		}
		d.Add(diag.ProxylessUnmarked, "", "%s serves without a proxy, where %s does nothing", podTitle(w), what)
		return
	}
	if a.Action == model.AuthCustom {
		d.Add(diag.ProxylessDenied, "spec.action", "%s serves without a proxy, where no authorizer is asked: what the rules take is denied", podTitle(w))
	}
	outcome := "the rule is as wide as without it"
	if a.Action == model.AuthAllow {
		outcome = "the rule takes no call"
	}
	for _, r := range a.Rules {
		for t := range r.Terms() {
			if !t.AskedByGRPC() {
				d.Add(diag.ProxylessDenied, diag.Path(t.At), "%s serves without a proxy, where %s cannot be asked: %s; %s", podTitle(w), t.Name(), t.WhyNotGRPC(), outcome)
			}
		}
	}
}

// open reports ports at which nothing enforces a policy.
func open(s *model.Service, w model.Workload, d *diag.List) {
	for _, port := range s.Ports {
		if port.Protocol != model.ProtocolUDP && !port.Protocol.IsHTTP2() {
			target := cmp.Or(w.Ports[port.TargetName], port.Target, port.Number)
			d.Add(diag.ProxylessOpen, "", "%s serves port %d of %s (%d) without a proxy, and nothing enforces the policy there: the port is not declared as gRPC's", podTitle(w), port.Number, s.Host, target)
		}
	}
}
