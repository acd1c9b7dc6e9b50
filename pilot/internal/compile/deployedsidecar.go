package compile

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// sidecar reports a selector without pods or whose pods an older Sidecar
// selects too, and hosts that stand for nothing.
func (p population) sidecar(o *config.Object, s *model.Sidecar) []diag.Diagnostic {
	d := diag.For(o.Ref())
	pods := slices.DeleteFunc(slices.Clone(p.pods), func(pod podLabels) bool {
		return pod.namespace != s.Namespace || !model.Selects(s.Selector, pod.labels)
	})
	if s.Selector != nil && len(pods) == 0 && p.complete {
		d.Add(diag.NobodySelected, "spec.workloadSelector", "no pod of namespace %s has the labels %s, so the Sidecar is for nobody", s.Namespace, model.FormatLabels(s.Selector))
	}
	for _, other := range p.mesh.Sidecars.All() {
		if s.Selector == nil || other.Selector == nil || other.Namespace != s.Namespace || other.Rank >= s.Rank || maps.Equal(other.Selector, s.Selector) {
			continue
		}
		if slices.ContainsFunc(pods, func(pod podLabels) bool { return model.Selects(other.Selector, pod.labels) }) {
			d.Add(diag.SidecarConflict, "spec.workloadSelector", "the older Sidecar %s selects some of the same pods, and wins there", other.Key())
		}
	}
	for i := range s.Egress {
		for j, h := range s.Egress[i].Hosts {
			if !p.stands(h, s) {
				at := diag.Path("spec.egress").Index(i).Field("hosts").Index(j)
				d.Add(diag.HostOfNothing, at, "%s/%s stands for no service and no VirtualService", h.Namespace, h.Host)
			}
		}
	}
	return d.All()
}

// stands reports whether a Sidecar's host stands for some service or some host
// of a VirtualService. In the root namespace "." is any namespace's own.
func (p population) stands(h model.ScopeHost, s *model.Sidecar) bool {
	if h.Host == "*" && (h.Namespace == "*" || h.Namespace == ".") {
		return true
	}
	in := func(namespace string) bool {
		return h.Namespace == "*" || h.Namespace == namespace || h.Namespace == "." && (namespace == s.Namespace || s.Namespace == p.mesh.Settings.RootNamespace)
	}
	for _, svc := range p.mesh.Services.All() {
		if in(svc.Namespace) && hostname.Covers(h.Host, svc.Host) {
			return true
		}
	}
	for _, vs := range p.mesh.VirtualServices.All() {
		if in(vs.Namespace) && slices.ContainsFunc(vs.Hosts, func(host string) bool { return hostname.Covers(h.Host, host) || hostname.Covers(host, h.Host) }) {
			return true
		}
	}
	return false
}
