package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// NamespacedSet is what --set says for an install of one namespace.
const NamespacedSet = "scope=namespace"

// Within is the cluster as one sees it who has rights in a namespace alone: what
// is of the cluster is not asked for, and what is of all namespaces only of that
// one.
func (c *Cluster) Within(namespace string) *Cluster {
	out := *c
	out.only = namespace
	return &out
}

// As gives Within for a namespace that an install has for a mesh of its own, and
// the cluster itself for all others, and where there is none.
func (c *Cluster) As(ctx context.Context, namespace string) (*Cluster, error) {
	found, err := c.Within(namespace).Installed(ctx)
	if apierrors.IsForbidden(err) {
		return c, nil // other calls will say what is missing
	}
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		if i.Values["scope"] == "namespace" {
			return c.Within(namespace), nil
		}
	}
	return c, nil
}

// clusterWide tells resources that are of no namespace.
func clusterWide(r schema.GroupVersionResource) bool {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.resource == r })
	return r == definitions || r.Resource == "nodes" || i >= 0 && !kinds[i].namespaced
}

// served gives a CRD that is served, which one may know without a right to read
// it; it counts as another's.
func (c *Cluster) served(crd *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
	for _, version := range versions(crd) {
		list, err := c.discovery.ServerResourcesForGroupVersion(group + "/" + version)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == plural }) {
			out := crd.DeepCopy()
			out.SetAnnotations(nil)
			established := []any{map[string]any{"type": "Established", "status": "True"}}
			return out, unstructured.SetNestedSlice(out.Object, established, "status", "conditions")
		}
	}
	return nil, nil
}

// forAdmin is the cure for what only an administrator of the cluster may do.
const forAdmin = "ask an administrator of the cluster to run: weft manifest generate --for-admin | kubectl apply --server-side -f -"

// checkWithin says whether a namespace can take an install of its own.
func (c *Cluster) checkWithin(ctx context.Context) ([]Finding, error) {
	found, err := c.get(ctx, namespace(c.only))
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, err
	}
	if found == nil {
		return []Finding{fail("namespace "+c.only, "ask an administrator of the cluster for it, and for the ClusterRole admin in it", "it is not there, or you may not see it")}, nil
	}
	out := []Finding{ok("namespace "+c.only, "it is there")}
	if other, err := c.ledByOther(ctx); err != nil {
		return nil, err
	} else if other != nil {
		out = append(out, *other)
	}
	crds, err := builtinCRDs()
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, crd := range crds {
		if is, err := c.served(crd); err != nil {
			return nil, err
		} else if is == nil {
			missing = append(missing, crd.GetName())
		}
	}
	if len(missing) > 0 {
		out = append(out, fail("CRDs", forAdmin, "not served: %s", strings.Join(missing, ", ")))
	} else {
		out = append(out, ok("CRDs", "%d are served", len(crds)))
	}
	rights, err := c.rightsWithin(ctx, crds)
	return append(out, rights), err
}

// ledByOther finds the roots of a mesh that serves the namespace already: its CA
// and ours would write over each other without an end, as would the pilots in the
// status of objects.
func (c *Cluster) ledByOther(ctx context.Context) (*Finding, error) {
	maps, err := c.list(ctx, configMaps, c.only, "")
	if apierrors.IsForbidden(err) {
		return nil, nil // rightsWithin says so
	}
	if err != nil {
		return nil, fmt.Errorf("list configmaps: %w", err)
	}
	if !slices.ContainsFunc(maps, func(o unstructured.Unstructured) bool { return o.GetName() == rootConfigMap }) {
		return nil, nil
	}
	own, err := c.list(ctx, deployments, c.only, partOf+"="+partOfWeft)
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	if slices.ContainsFunc(own, func(o unstructured.Unstructured) bool { return o.GetName() == caName }) {
		return nil, nil
	}
	found := fail("ConfigMap "+rootConfigMap, "use that mesh (weft inject -n with its namespace); or, if it is gone, kubectl delete configmap -n "+c.only+" "+rootConfigMap,
		"it is there, so a mesh of the whole cluster serves this namespace already")
	return &found, nil
}

// rightsWithin asks for what the install does itself, and for what it gives to
// the pilot's account: nobody can give what they do not have.
func (c *Cluster) rightsWithin(ctx context.Context, crds []*unstructured.Unstructured) (Finding, error) {
	asked := []kind{{"Secret", secrets, true}, {"Pod", pods, true}, {"Lease", leases, true}}
	for _, k := range kinds {
		if k.namespaced {
			asked = append(asked, k)
		}
	}
	for _, crd := range crds {
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
		if plural == "wasmplugins" || plural == "trafficextensions" {
			continue // the pilot does not read them
		}
		asked = append(asked, kind{plural, schema.GroupVersionResource{Group: group, Version: "v1", Resource: plural}, true})
	}
	var missing []string
	for _, k := range asked {
		for _, verb := range []string{"list", "create", "patch", "delete"} {
			may, err := c.may(ctx, verb, k, c.only)
			if err != nil {
				return Finding{}, err
			}
			if !may {
				missing = append(missing, verb+" "+k.resource.Resource)
			}
		}
	}
	if len(missing) > 0 {
		return fail("rights", "in namespace "+c.only+" you need the ClusterRole admin, by a RoleBinding, and Istio's kinds in it: "+forAdmin, "you may not: %s", strings.Join(missing, ", ")), nil
	}
	return ok("rights", "all that an install of one namespace needs"), nil
}

// Lacking is what an install of one namespace does without, a line each.
func Lacking(namespace string) []string {
	return []string{
		"no automatic injection: weft inject -n " + namespace + " -f app.yaml | kubectl apply -n " + namespace + " -f -",
		"no pods of other namespaces: what is called there is called in plaintext, by Kubernetes' own balancing",
		"no locality: the zones of nodes are not read",
		"no check before an object is stored: its status says what is wrong",
	}
}

// AdminObjects are what an administrator of the cluster must make once, so that
// namespaces can have a mesh of their own: the CRDs, and the rights to Istio's
// kinds for those who are admin or edit in a namespace.
func AdminObjects() ([]*unstructured.Unstructured, error) {
	crds, err := builtinCRDs()
	if err != nil {
		return nil, err
	}
	byGroup := map[string]bool{}
	var rules []any
	for _, crd := range crds {
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		if !byGroup[group] {
			rules = append(rules, map[string]any{"apiGroups": []any{group}, "resources": []any{"*"}, "verbs": []any{"get", "list", "watch", "create", "update", "patch", "delete"}})
		}
		byGroup[group] = true
	}
	role := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
		"metadata": map[string]any{"name": "weft-istio-api", "labels": map[string]any{
			partOf: partOfWeft, "rbac.authorization.k8s.io/aggregate-to-admin": "true", "rbac.authorization.k8s.io/aggregate-to-edit": "true",
		}},
		"rules": rules,
	}}
	return append(crds, role), nil
}

// refuse turns findings that fail into an error.
func refuse(found []Finding) error {
	var out []string
	for _, f := range found {
		if f.Outcome == Failed {
			out = append(out, fmt.Sprintf("%s: %s; %s", f.Subject, f.Text, f.Cure))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(out, "\n"))
}
