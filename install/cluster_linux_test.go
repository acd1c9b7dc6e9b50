package install

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/test/cluster"
)

// bench is a real API server, with the one controller that an uninstall waits
// for.
type bench struct {
	t      *testing.T
	api    *cluster.API
	client *kubernetes.Clientset
	c      *Cluster
}

func newBench(t *testing.T) *bench {
	t.Helper()
	api := cluster.APIServer(t)
	client, err := api.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCluster(api.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, api: api, client: client, c: c}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.emptyNamespaces(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return b
}

// emptyNamespaces is what Kubernetes' namespace controller does: a namespace
// that is deleted loses what is in it, and its finalizer.
func (b *bench) emptyNamespaces(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		all, err := b.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		for i := range all.Items {
			ns := &all.Items[i]
			if err == nil && ns.DeletionTimestamp != nil {
				ns.Spec.Finalizers = nil
				_, err = b.client.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{})
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// objects is all that there is in the cluster, with its version, but for what
// the API server changes by itself.
func (b *bench) objects() map[string]string {
	b.t.Helper()
	_, lists, err := b.client.Discovery().ServerGroupsAndResources()
	if err != nil {
		b.t.Fatal(err)
	}
	out := map[string]string{}
	for _, l := range lists {
		for _, r := range l.APIResources {
			gv := l.GroupVersion
			if !slices.Contains(r.Verbs, "list") || strings.Contains(gv, "flowcontrol") || strings.HasPrefix(gv, "apiregistration") || r.Kind == "Lease" || r.Kind == "Event" {
				continue
			}
			group, version, found := strings.Cut(gv, "/")
			if !found {
				group, version = "", gv
			}
			resource := definitions.GroupVersion().WithResource(r.Name)
			resource.Group, resource.Version = group, version
			objects, err := b.c.list(b.t.Context(), resource, "", "")
			if apierrors.IsNotFound(err) {
				continue // of a CRD that is gone, and still on the API server's list
			}
			if err != nil {
				b.t.Fatalf("list %s: %v", resource, err)
			}
			for i := range objects {
				if o := &objects[i]; !kubernetesOwn(o) {
					out[gv+" "+title(o)] = o.GetResourceVersion()
				}
			}
		}
	}
	return out
}

// kubernetesOwn are the objects that an API server makes for itself after it is
// ready.
func kubernetesOwn(o *unstructured.Unstructured) bool {
	if parent, _, _ := unstructured.NestedString(o.Object, "spec", "parentRef", "name"); o.GetKind() == "IPAddress" && parent == "kubernetes" {
		return true // the address of its own Service
	}
	namespace := o.GetKind() == "Namespace" && o.GetName() == metav1.NamespaceDefault
	service := o.GetNamespace() == metav1.NamespaceDefault && o.GetName() == "kubernetes" // with its Endpoints and EndpointSlice
	return namespace || service || strings.HasPrefix(o.GetNamespace()+o.GetName(), "kube") || strings.HasPrefix(o.GetName(), "system") || strings.HasPrefix(o.GetName(), "extension-apiserver")
}

func (b *bench) install(in Inputs) []Change {
	b.t.Helper()
	changes, err := b.c.Install(b.t.Context(), rendered(b.t, in), Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	return changes
}

func (b *bench) uninstall(revision string, purge bool) *Removal {
	b.t.Helper()
	plan, err := b.c.Plan(b.t.Context(), "", revision, purge)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.c.Run(b.t.Context(), plan, Options{Wait: 30 * time.Second}); err != nil {
		b.t.Fatal(err)
	}
	return plan
}

func (b *bench) apply(manifests string) {
	b.t.Helper()
	if err := b.api.Apply(b.t.Context(), manifests); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) delete(manifests string) {
	b.t.Helper()
	if err := b.api.Delete(context.WithoutCancel(b.t.Context()), manifests); err != nil {
		b.t.Error(err)
	}
}

func count(changes []Change) map[Done]int {
	out := map[Done]int{}
	for _, ch := range changes {
		out[ch.Done]++
	}
	return out
}

// made is what a running mesh writes; it does here without one.
const made = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-ca-root-cert, namespace: default, labels: {app.kubernetes.io/part-of: weft, istio.io/config: "true"}}
data: {root-cert.pem: x}
---
apiVersion: v1
kind: Secret
metadata: {name: istio-ca-secret, namespace: weft-system, labels: {app.kubernetes.io/part-of: weft}}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: weft-ca-leader, namespace: weft-system, labels: {app.kubernetes.io/part-of: weft}}
`

// An install done twice changes nothing, and an uninstall leaves nothing.
func TestInstallTwiceUninstall(t *testing.T) {
	b := newBench(t)
	before := b.objects()
	if n := count(b.install(Inputs{})); n[Created] < 40 || len(n) != 1 {
		t.Errorf("the first install: %v", n)
	}
	first := b.objects()
	if n := count(b.install(Inputs{})); n[Unchanged] < 40 || len(n) != 1 {
		t.Errorf("the second install: %v", n)
	}
	if second := b.objects(); !maps.Equal(first, second) {
		t.Errorf("the second install changed %v", difference(first, second))
	}
	b.apply(made)
	b.uninstall("", true)
	cluster.Eventually(t, 30*time.Second, "nothing is left behind or taken", func() error {
		if after := b.objects(); !maps.Equal(before, after) {
			return fmt.Errorf("%v", difference(before, after))
		}
		return nil
	})
}

func difference(a, b map[string]string) (out []string) {
	for k, v := range a {
		if b[k] != v {
			out = append(out, fmt.Sprintf("%s %s -> %q", k, v, b[k]))
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, "+"+k)
		}
	}
	slices.Sort(out)
	return out
}

// What a later install has no more is removed; a dry run only says so.
func TestPrune(t *testing.T) {
	b := newBench(t)
	b.install(Inputs{})
	defer b.uninstall("", true)
	before := b.objects()
	changes, err := b.c.Install(t.Context(), rendered(t, Inputs{Profile: "minimal"}), Options{DryRun: true})
	if n := count(changes); err != nil || n[Removed] != 7 || n[Changed] == 0 {
		t.Errorf("dry run: %v, %v", n, err)
	}
	if after := b.objects(); !maps.Equal(before, after) {
		t.Errorf("the dry run changed %v", difference(before, after))
	}
	if n := count(b.install(Inputs{Profile: "minimal"})); n[Removed] != 7 {
		t.Errorf("%v", n)
	}
	for name := range b.objects() {
		if strings.Contains(name, "istio-ingressgateway") {
			t.Errorf("%s is left", name)
		}
	}
}

const foreignCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: virtualservices.networking.istio.io, labels: {chart: istio}}
spec:
  group: networking.istio.io
  names: {kind: VirtualService, listKind: VirtualServiceList, plural: virtualservices, singular: virtualservice}
  scope: Namespaced
  versions:
    - {name: v1beta1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

const foreignControlPlane = `
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod}}
spec:
  selector: {matchLabels: {app: istiod}}
  template:
    metadata: {labels: {app: istiod}}
    spec: {containers: [{name: discovery, image: istiod}]}
`

// CRDs of another are used and kept; ours stay while another needs them.
func TestForeignCRDs(t *testing.T) {
	b := newBench(t)
	b.apply(foreignCRD)
	defer b.delete(foreignCRD)
	if n := count(b.install(Inputs{})); n[Foreign] != 1 {
		t.Errorf("%v", n)
	}
	b.apply(foreignControlPlane)
	found, err := b.c.CheckBefore(t.Context(), DefaultNamespace)
	if text := fmt.Sprint(found); err != nil || !strings.Contains(text, "does not serve v1") || !strings.Contains(text, "Deployment istio-system/istiod") {
		t.Errorf("check --pre: %v, %v", text, err)
	}
	if _, err := b.c.Plan(t.Context(), "", "", true); err == nil || !strings.Contains(err.Error(), "istio-system/istiod") {
		t.Errorf("the purge beside istiod: %v", err)
	}
	b.delete(foreignControlPlane)
	plan := b.uninstall("", true)
	if len(plan.CRDs) != 14 || !strings.Contains(fmt.Sprint(plan.Notes), "virtualservices.networking.istio.io stays") {
		t.Errorf("the purge took %d CRDs: %v", len(plan.CRDs), plan.Notes)
	}
	for name := range b.objects() {
		if strings.Contains(name, "CustomResourceDefinition") && !strings.Contains(name, "virtualservices") {
			t.Errorf("%s is left", name)
		}
	}
}

// An object of another's under our name stops an install before it begins.
func TestForeignObject(t *testing.T) {
	b := newBench(t)
	const theirs = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: weft-pilot%s}}"
	b.apply(fmt.Sprintf(theirs, ""))
	defer b.delete(fmt.Sprintf(theirs, ""))
	before := b.objects()
	_, err := b.c.Install(t.Context(), rendered(t, Inputs{}), Options{})
	if err == nil || !strings.Contains(err.Error(), "ClusterRole weft-pilot is there and is not Weft's") {
		t.Error(err)
	}
	if after := b.objects(); !maps.Equal(before, after) {
		t.Errorf("changed: %v", difference(before, after))
	}
}

// What the user keeps in the namespace stays, and so does the namespace.
func TestGuestsStay(t *testing.T) {
	b := newBench(t)
	b.install(Inputs{})
	const cacerts = "{apiVersion: v1, kind: Secret, metadata: {name: cacerts, namespace: weft-system}}"
	b.apply(cacerts + "\n---\n" + made)
	plan := b.uninstall("", true)
	if !strings.Contains(fmt.Sprint(plan.Notes), "Secret cacerts") {
		t.Errorf("%v", plan.Notes)
	}
	secrets, err := b.client.CoreV1().Secrets(DefaultNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(secrets.Items) != 1 || secrets.Items[0].Name != "cacerts" {
		t.Errorf("%v, %v", secrets.Items, err)
	}
	b.delete(cacerts)
	b.uninstall("", true)
	if ns, err := b.client.CoreV1().Namespaces().Get(t.Context(), DefaultNamespace, metav1.GetOptions{}); err == nil {
		t.Errorf("the namespace is left: %v", ns.Status)
	}
}

// Two revisions stand side by side, and the one that goes takes nothing of the
// other's.
func TestRevisions(t *testing.T) {
	b := newBench(t)
	canary := rendered(t, Inputs{Profile: "minimal", Revision: "canary"})
	if _, err := b.c.Install(t.Context(), canary, Options{}); err == nil || !strings.Contains(err.Error(), "isDefault=true") {
		t.Errorf("a revision without a CA: %v", err)
	}
	b.install(Inputs{Profile: "minimal"})
	b.apply(made)
	first := b.objects()
	b.install(Inputs{Profile: "minimal", Revision: "canary"})
	all, err := b.c.Installed(t.Context())
	if err != nil || len(all) != 2 || all[0].Revision != "canary" || all[1].Version() != "v1.2.3" {
		t.Errorf("installed: %v, %v", all, err)
	}
	if _, err := b.c.Plan(t.Context(), "", "canary", true); err == nil || !strings.Contains(err.Error(), "another revision") {
		t.Errorf("the purge of one of two: %v", err)
	}
	b.uninstall("canary", false)
	if now := b.objects(); !maps.Equal(first, now) {
		t.Errorf("left behind, or taken: %v", difference(first, now))
	}
	b.uninstall("", true)
}

// A revision that is made the default takes over what all revisions share, so
// that the one before it can go.
func TestRevisionTakesOver(t *testing.T) {
	b := newBench(t)
	b.install(Inputs{Profile: "minimal"})
	defer b.uninstall("", true)
	b.install(Inputs{Profile: "minimal", Revision: "canary"})
	if _, err := b.c.Plan(t.Context(), "", DefaultRevision, false); err == nil || !strings.Contains(err.Error(), "weft upgrade --revision canary --set isDefault=true") {
		t.Errorf("the removal of a CA that is needed: %v", err)
	}
	b.install(Inputs{Profile: "minimal", Revision: "canary", Sets: []string{"isDefault=true"}})
	b.uninstall(DefaultRevision, false)
	ca, err := b.client.AppsV1().Deployments(DefaultNamespace).Get(t.Context(), caName, metav1.GetOptions{})
	if err != nil || ca.Labels[revisionKey] != "canary" {
		t.Errorf("the CA: %v, %v", ca.Labels, err)
	}
	hooks, err := b.client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(hooks.Items) != 1 || hooks.Items[0].Name != "weft-sidecar-injector" || len(hooks.Items[0].Webhooks) != 4 {
		t.Fatalf("webhooks: %v, %v", hooks.Items, err)
	}
	for _, h := range hooks.Items[0].Webhooks {
		if h.ClientConfig.Service.Name != "weft-injector-canary" {
			t.Errorf("webhook %s asks %s", h.Name, h.ClientConfig.Service.Name)
		}
	}
}

// An upgrade begins with the values of the install.
func TestValuesAreKept(t *testing.T) {
	b := newBench(t)
	b.install(Inputs{Profile: "minimal", Sets: []string{"pilot.credentialNamespaces={default}"}})
	defer b.uninstall("", true)
	all, err := b.c.Installed(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	next := Inputs{Base: all[0].Values, Sets: []string{"ca.ttl=1h"}}
	if n := count(b.install(Inputs{Base: all[0].Values})); n[Unchanged] == 0 || len(n) != 1 {
		t.Errorf("with the kept values: %v", n)
	}
	values, err := next.Values()
	if err != nil || fmt.Sprint(values["pilot"]) != "map[credentialNamespaces:[default] replicas:1]" || fmt.Sprint(values["ca"]) != "map[replicas:1 ttl:1h]" {
		t.Errorf("%v, %v", values, err)
	}
}
