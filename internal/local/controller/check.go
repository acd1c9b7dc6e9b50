package controller

import (
	"net/netip"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// Check finds the containers that a local mesh of a folder could not run: those
// without a command, and those whose environment comes from what is not there.
func Check(set config.Set) (out []diag.Diagnostic) {
	for _, o := range set.Of(config.Deployment).All() {
		if d, ok := o.Spec.(*appsv1.Deployment); ok {
			out = append(out, checkDeployment(o, d, set)...)
		}
	}
	return out
}

func checkDeployment(o *config.Object, d *appsv1.Deployment, set config.Set) []diag.Diagnostic {
	list := diag.For(o.Ref())
	w := &workload{namespace: o.Namespace, name: o.Name, template: d.Spec.Template}
	p := w.pod([]netip.Addr{netip.IPv4Unspecified()})
	for i, c := range p.Spec.Containers {
		at := diag.Path("spec.template.spec.containers").Index(i)
		env, err := environment(p, c, surroundings{set: set})
		if err != nil {
			list.Add(diag.NoProcess, at, "container %s: %v", c.Name, err)
			continue
		}
		if _, err := command(p, c, i, env); err != nil {
			list.Add(diag.NoProcess, at.Field("command"), "container %s: %v", c.Name, err)
		}
	}
	return list.All()
}
