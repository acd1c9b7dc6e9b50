package compile

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// Deployed compares a compiled mesh with the pods that there are, or that the
// set's Deployments would make: what selects none of them. It belongs to
// checks of a whole set, not to the pilot's pipe: there, a pod that comes or
// goes would cost a look at every object.
func Deployed(set config.Set, mesh *model.Mesh) (out []diag.Diagnostic) {
	p := podsOf(set, mesh)
	for key, o := range set.Of(config.DestinationRule).All() {
		if policy, ok := mesh.Policies.Get(key); ok {
			out = append(out, p.subsets(o, policy)...)
		}
	}
	for key, o := range set.Of(config.Gateway).All() {
		if gw, ok := mesh.Gateways.Get(key); ok {
			out = append(out, p.gateway(o, gw)...)
		}
	}
	for key, o := range set.Of(config.VirtualService).All() {
		if v, ok := mesh.VirtualServices.Get(key); ok {
			out = append(out, p.claims(o, v)...)
		}
	}
	for key, o := range set.Of(config.Sidecar).All() {
		if s, ok := mesh.Sidecars.Get(key); ok {
			out = append(out, p.sidecar(o, s)...)
		}
	}
	return out
}

// podLabels are a namespace and the labels of pods in it.
type podLabels struct {
	namespace string
	labels    map[string]string
}

// population is what is known of pods.
type population struct {
	mesh *model.Mesh
	pods []podLabels
	// complete: the set has Pods, so that none is unknown.
	complete bool
}

func podsOf(set config.Set, mesh *model.Mesh) population {
	p := population{mesh: mesh, complete: mesh.Workloads.Len() > 0}
	for _, w := range mesh.Workloads.All() {
		p.pods = append(p.pods, podLabels{w.Namespace, w.Labels})
	}
	for _, w := range Planned(set) {
		p.pods = append(p.pods, podLabels{w.Namespace, w.Labels})
	}
	return p
}

// Planned are the pods that the set's Deployments would make: their namespaces,
// labels, Controller and ServiceAccount, and whether they would have an Envoy.
func Planned(set config.Set) (out []model.Workload) {
	for _, o := range set.Of(config.Deployment).All() {
		if d, ok := o.Spec.(*appsv1.Deployment); ok {
			template := d.Spec.Template
			out = append(out, model.Workload{Namespace: o.Namespace, Labels: template.Labels, Controller: o.Name, ServiceAccount: template.Spec.ServiceAccountName, Proxyless: config.Proxyless(template.Annotations)})
		}
	}
	return out
}

// behind are the labels of all pods and endpoints of a service.
func (p population) behind(s *model.Service) (out []map[string]string) {
	for _, pod := range p.pods {
		if pod.namespace == s.Namespace && s.Selects(pod.labels) {
			out = append(out, pod.labels)
		}
	}
	if e, ok := p.mesh.Endpoints.Get(s.Host); ok {
		for _, port := range e.Ports {
			for _, one := range port.Endpoints {
				out = append(out, one.Labels)
			}
		}
	}
	return out
}

// subsets reports those that select no pod of a service that has pods.
func (p population) subsets(o *config.Object, policy *model.Policy) []diag.Diagnostic {
	spec, ok := o.Spec.(*networking.DestinationRule)
	svc, known := p.mesh.Services.Get(policy.Host)
	if !ok || !known {
		return nil
	}
	d := diag.For(o.Ref())
	pods := p.behind(svc)
	for i, s := range spec.GetSubsets() {
		selected := func(labels map[string]string) bool { return model.Selects(s.GetLabels(), labels) }
		if len(pods) > 0 && !slices.ContainsFunc(pods, selected) {
			d.Add(diag.SubsetEmpty, diag.Path("spec.subsets").Index(i).Field("labels"),
				"no pod of %s has the labels %s: requests to subset %q are answered 503", svc.Host, model.FormatLabels(s.GetLabels()), s.GetName())
		}
	}
	return d.All()
}

// gateway reports a selector without pods, and ports that no Service of the
// Gateway's pods has.
func (p population) gateway(o *config.Object, gw *model.Gateway) []diag.Diagnostic {
	d := diag.For(o.Ref())
	selected := slices.DeleteFunc(slices.Clone(p.pods), func(pod podLabels) bool { return !model.Selects(gw.Selector, pod.labels) })
	if len(selected) == 0 && p.complete && len(gw.Selector) > 0 {
		d.Add(diag.NobodySelected, "spec.selector", "no pod has the labels %s, so nothing listens", model.FormatLabels(gw.Selector))
	}
	var doors []*model.Service
	for _, s := range p.mesh.Services.All() {
		if slices.ContainsFunc(selected, func(pod podLabels) bool { return pod.namespace == s.Namespace && s.Selects(pod.labels) }) {
			doors = append(doors, s)
		}
	}
	for i := range gw.Servers {
		s := &gw.Servers[i]
		lacks := func(svc *model.Service) bool { _, has := svc.Port(s.Port); return !has }
		if len(doors) > 0 && !slices.ContainsFunc(doors, func(svc *model.Service) bool { return !lacks(svc) }) {
			d.Add(diag.PortNotOnService, diag.Path("spec.servers").Index(s.Index).Field("port.number"),
				"Service %s of the gateway's pods has no port %d, so nobody reaches the server through it", doors[0].Host, s.Port)
		}
	}
	return d.All()
}
