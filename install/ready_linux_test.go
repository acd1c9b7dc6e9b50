package install

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// A wait that ends tells which component is not ready, and does not wait for a
// LoadBalancer's address.
func TestWaitTellsWhy(t *testing.T) {
	b := newBench(t)
	m := rendered(t, Inputs{})
	defer b.uninstall("", true)
	_, err := b.c.Install(t.Context(), m, Options{Wait: time.Second})
	if err == nil || !strings.Contains(err.Error(), "weft-pilot: 0/2 pods ready") || !strings.Contains(err.Error(), "weft-sidecar-injector") {
		t.Error(err)
	}
	b.rollOut(m)
	var said []string
	err = b.c.WaitReady(t.Context(), m, Options{Wait: 30 * time.Second, Say: func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) }})
	if err != nil || !strings.Contains(strings.Join(said, "\n"), "weft-pilot is ready (2/2)") {
		t.Errorf("%v %v", said, err)
	}
	found, err := b.c.Check(t.Context(), DefaultNamespace, "v1.2.3")
	text := fmt.Sprint(found)
	if err != nil || !strings.Contains(text, "has no address") || !strings.Contains(text, "gateways.ingress.type=NodePort") {
		t.Errorf("check: %v %v", text, err)
	}
	for _, f := range found {
		if f.Outcome == Failed {
			t.Errorf("%+v", f)
		}
	}
}

// A component that somebody scaled to nothing is no part of a mesh in order.
func TestCheckFindsWhoIsAway(t *testing.T) {
	b := newBench(t)
	m := rendered(t, Inputs{})
	defer b.uninstall("", true)
	_, _ = b.c.Install(t.Context(), m, Options{Wait: time.Second}) // no pod runs here
	b.rollOut(m)
	for _, name := range []string{"weft-pilot", "weft-ca", "istio-ingressgateway"} {
		if _, err := b.client.AppsV1().Deployments(DefaultNamespace).Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec": {"replicas": 0}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.rollOut(m)
	found, err := b.c.Check(t.Context(), DefaultNamespace, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Outcome{}
	for _, f := range found {
		if strings.Contains(f.Text, "scaled to 0 replicas") || f.Subject == "validation" {
			got[f.Subject] = f.Outcome
		}
	}
	want := map[string]Outcome{"weft-pilot": Failed, "weft-ca": Failed, "istio-ingressgateway": Warning, "validation": Warning}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// rollOut writes what Kubernetes' and our own controllers would: Deployments
// that have rolled out, the webhook's roots, the roots of the namespace.
func (b *bench) rollOut(m *Manifest) {
	b.t.Helper()
	for _, o := range m.Objects {
		switch o.GetKind() {
		case "Deployment":
			d, err := b.client.AppsV1().Deployments(o.GetNamespace()).Get(b.t.Context(), o.GetName(), metav1.GetOptions{})
			if err != nil {
				b.t.Fatal(err)
			}
			n := *d.Spec.Replicas
			d.Status.ObservedGeneration, d.Status.Replicas, d.Status.UpdatedReplicas = d.Generation, n, n
			d.Status.AvailableReplicas, d.Status.ReadyReplicas = n, n
			if _, err := b.client.AppsV1().Deployments(o.GetNamespace()).UpdateStatus(b.t.Context(), d, metav1.UpdateOptions{}); err != nil {
				b.t.Fatal(err)
			}
		case "MutatingWebhookConfiguration":
			b.fillBundle(o)
		}
	}
	b.apply(strings.ReplaceAll(strings.Split(made, "---")[0], "namespace: default", "namespace: weft-system"))
}

func (b *bench) fillBundle(o *unstructured.Unstructured) {
	b.t.Helper()
	api := b.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	w, err := api.Get(b.t.Context(), o.GetName(), metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range w.Webhooks {
		w.Webhooks[i].ClientConfig.CABundle = []byte("-----BEGIN CERTIFICATE-----\nMIIBcDCCARagAwIBAgIBATAKBggqhkjOPQQDAjAAMAAwWTATBgcqhkjOPQIBBggq\n-----END CERTIFICATE-----\n")
	}
	if _, err := api.Update(b.t.Context(), w, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}
