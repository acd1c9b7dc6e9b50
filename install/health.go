package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Check says whether what is installed in namespace works. version is that of
// the command. An error means that the cluster could not be asked.
func (c *Cluster) Check(ctx context.Context, namespace, version string) ([]Finding, error) {
	v, err := c.Version()
	if err != nil {
		return nil, err
	}
	out := []Finding{checkVersion(v)}
	all, err := c.Installed(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i *Installed) bool { return i.Namespace != namespace })
	if len(all) == 0 {
		return append(out, fail("Weft", "weft install installs it", "it is not installed in namespace %s", namespace)), nil
	}
	definitions, err := c.checkServed(ctx)
	if err != nil {
		return nil, err
	}
	out = append(out, definitions)
	for _, i := range all {
		found, err := c.checkRevision(ctx, i, version)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	for _, check := range []func(context.Context, string) ([]Finding, error){c.checkValidator, c.checkRoots, c.checkBalancers, c.checkOthersBeside} {
		found, err := check(ctx, namespace)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// checkServed says whether every CRD is there and served.
func (c *Cluster) checkServed(ctx context.Context) (Finding, error) {
	want, err := builtinCRDs()
	if err != nil {
		return Finding{}, err
	}
	var missing []string
	for _, o := range want {
		found, err := c.get(ctx, o)
		if err != nil {
			return Finding{}, err
		}
		if found == nil || condition(found, "Established") != "True" {
			missing = append(missing, o.GetName())
		}
	}
	if len(missing) > 0 {
		return fail("CRDs", "weft install makes them", "missing: %s", strings.Join(missing, ", ")), nil
	}
	return ok("CRDs", "%d are served", len(want)), nil
}

// checkRevision is the health of one control plane: what was applied, compared
// with what runs.
func (c *Cluster) checkRevision(ctx context.Context, i *Installed, version string) ([]Finding, error) {
	found, err := c.list(ctx, deployments, i.Namespace, partOf+"="+partOfWeft+","+revisionKey+"="+i.Revision)
	if err != nil {
		return nil, err
	}
	hooks, err := c.list(ctx, mutatingWebhooks, "", partOf+"="+partOfWeft+","+revisionKey+"="+i.Revision+","+system+"="+i.Namespace)
	if err != nil {
		return nil, err
	}
	m := &Manifest{Namespace: i.Namespace}
	for _, list := range [][]unstructured.Unstructured{found, hooks} {
		for n := range list {
			m.Objects = append(m.Objects, &list[n])
		}
	}
	states, err := c.states(ctx, m)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, s := range states {
		out = append(out, s.finding(i.Namespace))
	}
	if c.only != "" {
		for _, line := range Lacking(i.Namespace) {
			out = append(out, ok("one namespace", "%s", line))
		}
	} else if len(hooks) == 0 {
		out = append(out, fail("injection", "weft install makes it", "there is no MutatingWebhookConfiguration of revision %s: no pod gets a sidecar", i.Revision))
	}
	if running := i.Version(); running != version {
		out = append(out, warn("version", "weft upgrade, or a weft of that version", "revision %s is %s, this command %s", i.Revision, running, version))
	}
	return out, nil
}

// finding is what there is to say of a component.
func (s State) finding(namespace string) Finding {
	scale := "kubectl scale -n " + namespace + " deployment/" + s.Name + " --replicas=2"
	switch {
	case s.Idle && s.Gateway:
		return warn(s.Name, scale, "scaled to 0 replicas: nobody is reached through it")
	case s.Idle:
		return fail(s.Name, scale, "scaled to 0 replicas: what runs goes on, and nothing new is served")
	case s.Ready:
		return ok(s.Name, "ready (%s)", s.Why)
	}
	return fail(s.Name, "kubectl describe pod -n "+namespace+" and kubectl logs -n "+namespace+" deployment/"+s.Name+" say more", "%s", s.Why)
}

// checkValidator looks for the webhook that refuses mistakes before they are
// stored. The mesh works without it.
func (c *Cluster) checkValidator(ctx context.Context, namespace string) ([]Finding, error) {
	const subject = "validation"
	found, err := c.list(ctx, validatingWebhooks, "", partOf+"="+partOfWeft+","+system+"="+namespace)
	if err != nil {
		return nil, fmt.Errorf("list validatingwebhookconfigurations: %w", err)
	}
	if c.only != "" {
		return nil, nil
	}
	if len(found) == 0 {
		return []Finding{warn(subject, "weft install makes it", "there is no ValidatingWebhookConfiguration: mistakes are stored, and only their status says so")}, nil
	}
	for i := range found {
		hooks, _, _ := unstructured.NestedSlice(found[i].Object, "webhooks")
		for _, h := range hooks {
			h, _ := h.(map[string]any)
			if bundle, _, _ := unstructured.NestedString(h, "clientConfig", "caBundle"); bundle == "" {
				return []Finding{warn(subject, "kubectl logs -n "+namespace+" deployment/weft-pilot says why the pilot has not written it", "%s has no caBundle: the API server cannot ask the pilot, and mistakes are stored", found[i].GetName())}, nil
			}
		}
	}
	pilots, err := c.list(ctx, deployments, namespace, partOf+"="+partOfWeft+",app=istiod")
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	for i := range pilots {
		if n, _, _ := unstructured.NestedInt64(pilots[i].Object, "status", "availableReplicas"); n > 0 {
			return []Finding{ok(subject, "mistakes are refused before they are stored")}, nil
		}
	}
	return []Finding{warn(subject, "see weft-pilot above", "no pilot is there to ask: mistakes are stored, and are told when it is back")}, nil
}

// checkRoots looks for the roots that every proxy needs to start.
func (c *Cluster) checkRoots(ctx context.Context, namespace string) ([]Finding, error) {
	all, err := c.list(ctx, namespaces, "", "")
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	maps, err := c.list(ctx, configMaps, "", "")
	if err != nil {
		return nil, fmt.Errorf("list configmaps: %w", err)
	}
	have := map[string]bool{}
	for i := range maps {
		if text, _, _ := unstructured.NestedString(maps[i].Object, "data", "root-cert.pem"); maps[i].GetName() == rootConfigMap && text != "" {
			have[maps[i].GetNamespace()] = true
		}
	}
	var missing []string
	if c.only != "" && !have[namespace] {
		missing = append(missing, namespace)
	}
	for i := range all {
		if ns := all[i].GetName(); !have[ns] && (injects(all[i].GetLabels()) || ns == namespace) {
			missing = append(missing, ns)
		}
	}
	if len(missing) > 0 {
		return []Finding{fail("roots", "kubectl logs -n "+namespace+" deployment/weft-ca says why they are not written", "ConfigMap %s is missing in: %s; pods with a sidecar cannot start there", rootConfigMap, strings.Join(missing, ", "))}, nil
	}
	return []Finding{ok("roots", "in %d namespaces", len(have))}, nil
}

func injects(labels map[string]string) bool {
	return labels["istio-injection"] == "enabled" || labels[revisionKey] != ""
}

// checkBalancers says why a gateway's LoadBalancer has no address. Nothing
// waits for it: where no one gives addresses there never is one.
func (c *Cluster) checkBalancers(ctx context.Context, namespace string) ([]Finding, error) {
	found, err := c.list(ctx, services, namespace, partOf+"="+partOfWeft)
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	var out []Finding
	for i := range found {
		s := &found[i]
		if kind, _, _ := unstructured.NestedString(s.Object, "spec", "type"); kind != "LoadBalancer" {
			continue
		}
		if addresses := addressesOf(s); len(addresses) > 0 {
			out = append(out, ok(s.GetName(), "reached at %s", strings.Join(addresses, ", ")))
			continue
		}
		out = append(out, warn(s.GetName(),
			"install a load balancer, such as MetalLB, or use nodes' ports: weft upgrade --set gateways.ingress.type=NodePort; until then: "+nodePorts(s),
			"its Service is a LoadBalancer and has no address: nothing in this cluster has given it one"))
	}
	return out, nil
}

func addressesOf(service *unstructured.Unstructured) (out []string) {
	all, _, _ := unstructured.NestedSlice(service.Object, "status", "loadBalancer", "ingress")
	for _, a := range all {
		a, _ := a.(map[string]any)
		for _, key := range []string{"ip", "hostname"} {
			if text, _ := a[key].(string); text != "" {
				out = append(out, text)
			}
		}
	}
	return out
}

// nodePorts are the ports under which every node serves a Service.
func nodePorts(service *unstructured.Unstructured) string {
	all, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	var out []string
	for _, p := range all {
		if p, _ := p.(map[string]any); p["nodePort"] != nil {
			out = append(out, fmt.Sprintf("%v at NODE:%v", p["port"], p["nodePort"]))
		}
	}
	if len(out) == 0 {
		return "kubectl port-forward -n " + service.GetNamespace() + " service/" + service.GetName() + " 8080:80"
	}
	return strings.Join(out, ", ")
}

func (c *Cluster) checkOthersBeside(ctx context.Context, namespace string) ([]Finding, error) {
	others, err := c.OtherControlPlanes(ctx, namespace)
	var out []Finding
	for _, o := range others {
		out = append(out, warn(o, "give each namespace to one of them by its label: istio-injection=enabled, or istio.io/rev", "another control plane reads the same objects"))
	}
	return out, err
}
