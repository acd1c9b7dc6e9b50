package install

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/apis"
)

// Objects that the mesh makes while it runs, under Istio's names.
const (
	rootConfigMap = "istio-ca-root-cert" // in every namespace: the roots
	rootSecret    = "istio-ca-secret"    // in the mesh's own: the key of a root that the CA made
)

// Removal is what an uninstall takes out. Plan makes it; it may be looked at
// before it is run.
type Removal struct {
	Namespace string
	Objects   []*unstructured.Unstructured // in the order of removal
	Made      []*unstructured.Unstructured // what the running mesh made; after the pods are gone
	CRDs      []*unstructured.Unstructured // only with purge
	Instances map[string]int               // objects that go with a CRD, by its name; only those that have some
	Last      bool                         // no other revision is left
	Notes     []string                     // what stays, and why
}

// Empty says whether there is nothing to remove.
func (r *Removal) Empty() bool { return len(r.Objects)+len(r.Made)+len(r.CRDs) == 0 }

// Plan lists what belongs to a revision ("" for all) of the install in a
// namespace. What revisions share is on the list when no other is left. With
// purge also the CRDs that Weft made: an error if another control plane uses
// them.
func (c *Cluster) Plan(ctx context.Context, namespace, revision string, purge bool) (*Removal, error) {
	r := &Removal{Namespace: cmp.Or(namespace, DefaultNamespace), Instances: map[string]int{}}
	var err error
	if r.Objects, err = c.owned(ctx, r.Namespace, revision); err != nil {
		return nil, err
	}
	all, err := c.owned(ctx, r.Namespace, "")
	if err != nil {
		return nil, err
	}
	if r.Last = len(all) == len(r.Objects); r.Last {
		if err := c.planShared(ctx, r); err != nil {
			return nil, err
		}
	} else if err := leavesCA(r, all); err != nil {
		return nil, err
	}
	if purge {
		return r, c.planCRDs(ctx, r)
	}
	return r, nil
}

// leavesCA refuses to take the CA and the gateways from the revisions that stay.
func leavesCA(r *Removal, all []*unstructured.Unstructured) error {
	isCA := func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" && o.GetName() == caName }
	at := slices.IndexFunc(r.Objects, isCA)
	if at < 0 {
		return nil
	}
	goes := r.Objects[at].GetLabels()[revisionKey]
	for _, o := range all {
		if rev := o.GetLabels()[revisionKey]; rev != goes {
			return fmt.Errorf("the CA and the gateways, which revision %[2]s needs, belong to revision %[1]s: weft upgrade --revision %[2]s --set isDefault=true gives them to it, then remove %[1]s", goes, rev)
		}
	}
	return nil
}

// planShared adds what all revisions share.
func (c *Cluster) planShared(ctx context.Context, r *Removal) error {
	for _, made := range []struct {
		resource              schema.GroupVersionResource
		namespace, name, kind string
	}{
		{configMaps, "", rootConfigMap, "ConfigMap"},
		{secrets, r.Namespace, rootSecret, "Secret"},
		{leases, r.Namespace, "", "Lease"},
		{secrets, r.Namespace, "", "Secret"},
	} {
		found, err := c.list(ctx, made.resource, made.namespace, "")
		if err != nil {
			return fmt.Errorf("list %s: %w", made.resource.Resource, err)
		}
		for i := range found {
			o := &found[i]
			o.SetKind(made.kind)
			if o.GetLabels()[partOf] == partOfWeft && (made.name == "" || o.GetName() == made.name) && !slices.ContainsFunc(r.Made, func(m *unstructured.Unstructured) bool { return title(m) == title(o) }) {
				r.Made = append(r.Made, o)
			}
		}
	}
	return nil
}

// planCRDs adds the CRDs that Weft made, unless another control plane needs
// them.
func (c *Cluster) planCRDs(ctx context.Context, r *Removal) error {
	if c.only != "" {
		return fmt.Errorf("--purge takes CRDs, which are the cluster's; uninstall without it")
	}
	others, err := c.OtherControlPlanes(ctx, r.Namespace)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("--purge would take the CRDs from %s, which uses them; uninstall without --purge", strings.Join(others, ", "))
	}
	if !r.Last {
		return fmt.Errorf("--purge would take the CRDs from another revision of Weft; uninstall without --revision")
	}
	found, err := c.list(ctx, definitions, "", "")
	if err != nil {
		return err
	}
	for i := range found {
		o := &found[i]
		switch {
		case o.GetAnnotations()[apis.OwnerAnnotation] != "":
			r.CRDs = append(r.CRDs, o)
			if n, err := c.instances(ctx, o); err != nil {
				return err
			} else if n > 0 {
				r.Instances[o.GetName()] = n
			}
		case strings.HasSuffix(o.GetName(), ".istio.io"):
			r.Notes = append(r.Notes, "CRD "+o.GetName()+" stays: Weft did not make it")
		}
	}
	return nil
}

// instances counts the objects of a CRD.
func (c *Cluster) instances(ctx context.Context, crd *unstructured.Unstructured) (int, error) {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
	stored, _, _ := unstructured.NestedStringSlice(crd.Object, "status", "storedVersions")
	if len(stored) == 0 {
		return 0, nil
	}
	found, err := c.list(ctx, schema.GroupVersionResource{Group: group, Version: stored[0], Resource: plural}, "", "")
	if err != nil {
		return 0, fmt.Errorf("list %s.%s: %w", plural, group, err)
	}
	return len(found), nil
}

// OtherControlPlanes names the Deployments that read Istio's API and are not those
// of Weft in a namespace: another mesh's, or another Weft's.
func (c *Cluster) OtherControlPlanes(ctx context.Context, namespace string) ([]string, error) {
	found, err := c.list(ctx, deployments, "", "app=istiod")
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	var out []string
	for i := range found {
		if o := &found[i]; o.GetNamespace() != namespace || o.GetLabels()[partOf] != partOfWeft {
			out = append(out, "Deployment "+o.GetNamespace()+"/"+o.GetName())
		}
	}
	return out, nil
}

// Run removes what the plan holds: webhooks first, so that no pod waits for an
// injector that is gone, then workloads, then, once their pods have ended, what
// these had made, and last the namespace, if we made it and nothing of another's
// is left in it. What is gone already is no error, so it can be run again.
func (c *Cluster) Run(ctx context.Context, r *Removal, o Options) error {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	for _, obj := range r.Objects {
		if err := c.remove(ctx, obj); err != nil {
			return err
		}
	}
	o.Say("%d objects removed", len(r.Objects))
	if err := c.podsGone(ctx, r, o); err != nil {
		return err
	}
	if r.Last {
		// The CA may have written more since the plan was made.
		if err := c.planShared(ctx, r); err != nil {
			return err
		}
	}
	for _, obj := range r.Made {
		if err := c.removeMade(ctx, obj); err != nil {
			return err
		}
	}
	for _, crd := range r.CRDs {
		if err := c.remove(ctx, crd); err != nil {
			return err
		}
	}
	if len(r.Made)+len(r.CRDs) > 0 {
		o.Say("%d objects that the mesh had made removed, %d CRDs", len(r.Made), len(r.CRDs))
	}
	if r.Last {
		if err := c.removeNamespace(ctx, r, o); err != nil {
			return err
		}
	}
	return c.gone(ctx, r, o)
}

// removeMade deletes an object of a kind that no chart makes.
func (c *Cluster) removeMade(ctx context.Context, o *unstructured.Unstructured) error {
	resource := map[string]schema.GroupVersionResource{"ConfigMap": configMaps, "Secret": secrets, "Lease": leases}[o.GetKind()]
	err := c.objects.Resource(resource).Namespace(o.GetNamespace()).Delete(ctx, o.GetName(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %w", title(o), err)
	}
	return nil
}

// podsGone waits until no pod of what was removed is left: they drain, and
// write until they end.
func (c *Cluster) podsGone(ctx context.Context, r *Removal, o Options) error {
	var selectors []map[string]string
	for _, obj := range r.Objects {
		if obj.GetKind() == "Deployment" {
			selector, _, _ := unstructured.NestedStringMap(obj.Object, "spec", "selector", "matchLabels")
			selectors = append(selectors, selector)
		}
	}
	if len(selectors) == 0 || o.Wait == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	return poll(ctx, func() (bool, string, error) {
		found, err := c.list(ctx, pods, r.Namespace, partOf+"="+partOfWeft)
		if err != nil {
			return false, "", err
		}
		for i := range found {
			if slices.ContainsFunc(selectors, func(s map[string]string) bool { return matches(s, found[i].GetLabels()) }) {
				return false, fmt.Sprintf("pod %s/%s has not ended after %v; run weft uninstall again when it has", r.Namespace, found[i].GetName(), o.Wait), nil
			}
		}
		return true, "", nil
	})
}

// removeNamespace deletes the namespace if an install made it, unless it holds
// something of the user's.
func (c *Cluster) removeNamespace(ctx context.Context, r *Removal, o Options) error {
	if c.only != "" {
		return nil // it is not ours, and nor may we
	}
	ns := namespace(r.Namespace)
	found, err := c.get(ctx, ns)
	if err != nil || found == nil {
		return err
	}
	if foreign(found) {
		r.Notes = append(r.Notes, "namespace "+r.Namespace+" stays: Weft did not make it")
		return nil
	}
	left, err := c.guests(ctx, r.Namespace)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("namespace %s stays, it holds what is not Weft's: %s", r.Namespace, strings.Join(left, ", ")))
		return nil
	}
	o.Say("namespace %s removed", r.Namespace)
	return c.remove(ctx, ns)
}

// guests are the objects of others in a namespace, without what Kubernetes
// itself puts into each and what belongs to a guest.
func (c *Cluster) guests(ctx context.Context, namespace string) (out []string, err error) {
	lists, err := c.discovery.ServerPreferredNamespacedResources()
	if err != nil && len(lists) == 0 {
		return nil, err
	}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, res := range l.APIResources {
			if !slices.Contains(res.Verbs, "list") || !slices.Contains(res.Verbs, "delete") || passingKinds[res.Kind] {
				continue
			}
			found, err := c.list(ctx, gv.WithResource(res.Name), namespace, "")
			if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for i := range found {
				if guest(&found[i]) {
					out = append(out, res.Kind+" "+found[i].GetName())
				}
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// passingKinds are made by controllers, and go with what they were made for.
var passingKinds = map[string]bool{"Event": true, "EndpointSlice": true, "Endpoints": true, "ControllerRevision": true, "PodMetrics": true, "Lease": true}

func guest(o *unstructured.Unstructured) bool {
	switch {
	case o.GetLabels()[partOf] == partOfWeft, len(o.GetOwnerReferences()) > 0, o.GetDeletionTimestamp() != nil:
		return false
	case o.GetKind() == "ConfigMap" && o.GetName() == "kube-root-ca.crt", o.GetKind() == "ServiceAccount" && o.GetName() == "default":
		return false
	}
	return true
}

// gone waits until the API server has let go of the namespace and the CRDs,
// so that an install may follow at once.
func (c *Cluster) gone(ctx context.Context, r *Removal, o Options) error {
	if o.Wait == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	waitFor := slices.Clone(r.CRDs)
	if r.Last && c.only == "" {
		waitFor = append(waitFor, namespace(r.Namespace))
	}
	began := time.Now()
	return poll(ctx, func() (bool, string, error) {
		for _, obj := range waitFor {
			found, err := c.get(ctx, obj)
			if err != nil {
				return false, "", err
			}
			if found != nil && found.GetDeletionTimestamp() != nil {
				return false, fmt.Sprintf("%s is still being removed after %v", title(obj), time.Since(began).Round(time.Second)), nil
			}
		}
		return true, "", nil
	})
}
