package injection

import (
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/weftmesh/weft/injector"
	"github.com/weftmesh/weft/install"
)

// webhooks are those of the chart, for a revision.
func webhooks(t *testing.T, revision string) []admissionregistrationv1.MutatingWebhook {
	t.Helper()
	values, err := install.Inputs{Revision: revision}.Values()
	if err != nil {
		t.Fatal(err)
	}
	m, err := install.Render(install.Release{Version: "test", Values: values})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range m.Objects {
		if o.GetKind() != "MutatingWebhookConfiguration" {
			continue
		}
		var c admissionregistrationv1.MutatingWebhookConfiguration
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &c); err != nil {
			t.Fatal(err)
		}
		return c.Webhooks
	}
	t.Fatal("the chart has no MutatingWebhookConfiguration")
	return nil
}

func selects(t *testing.T, s *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(of))
}

// injected tells whether a pod gets a sidecar of these webhooks: they must send
// it to the injector, once, and the injector must want it.
func injected(t *testing.T, hooks []admissionregistrationv1.MutatingWebhook, namespace map[string]string, pod *corev1.Pod) bool {
	t.Helper()
	sent := 0
	for _, w := range hooks {
		if selects(t, w.NamespaceSelector, namespace) && selects(t, w.ObjectSelector, pod.Labels) {
			sent++
		}
	}
	if sent > 1 {
		t.Errorf("%d webhooks take pod %v of namespace %v", sent, pod.Labels, namespace)
	}
	wanted, _, err := injector.Wanted(pod, namespace["kubernetes.io/metadata.name"], injector.Values{})
	if err != nil {
		t.Fatal(err)
	}
	return sent > 0 && wanted
}

// TestSelection is Istio's documented table of labels on namespaces and pods,
// for the default revision and one beside it.
// Source: istio.io, Installing the Sidecar, Controlling the injection policy.
func TestSelection(t *testing.T) {
	standard, canary := webhooks(t, "default"), webhooks(t, "canary")
	const inject, rev, enabled = "sidecar.istio.io/inject", "istio.io/rev", "istio-injection"
	type set = map[string]string
	for _, c := range []struct {
		namespace, pod   set
		standard, canary bool
	}{
		{},
		{pod: set{inject: "true"}, standard: true},
		{pod: set{inject: "false"}},
		{pod: set{rev: "canary"}, canary: true},
		{pod: set{rev: "default"}, standard: true},
		{pod: set{inject: "true", rev: "canary"}, canary: true},
		{pod: set{inject: "false", rev: "canary"}},
		{namespace: set{enabled: "enabled"}, standard: true},
		{namespace: set{enabled: "enabled"}, pod: set{inject: "true"}, standard: true},
		{namespace: set{enabled: "enabled"}, pod: set{inject: "false"}},
		{namespace: set{enabled: "disabled"}},
		{namespace: set{enabled: "disabled"}, pod: set{inject: "true"}},
		{namespace: set{enabled: "disabled"}, pod: set{rev: "canary"}},
		{namespace: set{rev: "canary"}, canary: true},
		{namespace: set{rev: "canary"}, pod: set{inject: "false"}},
		{namespace: set{rev: "canary"}, pod: set{inject: "true"}, canary: true},
		{namespace: set{rev: "default"}, standard: true},
		{namespace: set{enabled: "enabled", rev: "canary"}, standard: true},
	} {
		name := fmt.Sprintf("namespace %v, pod %v", c.namespace, c.pod)
		namespace := set{"kubernetes.io/metadata.name": "shop"}
		for k, v := range c.namespace {
			namespace[k] = v
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: c.pod}}
		if got := injected(t, standard, namespace, pod); got != c.standard {
			t.Errorf("%s: injected by default %t, want %t", name, got, c.standard)
		}
		if got := injected(t, canary, namespace, pod); got != c.canary {
			t.Errorf("%s: injected by canary %t, want %t", name, got, c.canary)
		}
	}
}

// TestNoDeadlock: what a cluster and the mesh itself are made of starts without
// asking the injector, whatever labels say; and the webhook holds up nothing but
// the making of pods, not for long.
func TestNoDeadlock(t *testing.T) {
	for _, w := range append(webhooks(t, "default"), webhooks(t, "canary")...) {
		for _, name := range []string{"weft-system", "kube-system", "kube-public", "kube-node-lease"} {
			all := map[string]string{"kubernetes.io/metadata.name": name, "istio-injection": "enabled"}
			if selects(t, w.NamespaceSelector, all) {
				t.Errorf("%s takes pods of %s", w.Name, name)
			}
			delete(all, "istio-injection")
			if all["istio.io/rev"] = "canary"; selects(t, w.NamespaceSelector, all) {
				t.Errorf("%s takes pods of %s by revision", w.Name, name)
			}
		}
		if len(w.Rules) != 1 || len(w.Rules[0].Resources) != 1 || w.Rules[0].Resources[0] != "pods" ||
			len(w.Rules[0].Operations) != 1 || w.Rules[0].Operations[0] != admissionregistrationv1.Create {
			t.Errorf("%s takes more than new pods: %+v", w.Name, w.Rules)
		}
		if *w.FailurePolicy != admissionregistrationv1.Fail || *w.TimeoutSeconds > 10 {
			t.Errorf("%s: failurePolicy %s, timeout %d s", w.Name, *w.FailurePolicy, *w.TimeoutSeconds)
		}
		if *w.SideEffects != admissionregistrationv1.SideEffectClassNone || *w.ReinvocationPolicy != admissionregistrationv1.IfNeededReinvocationPolicy {
			t.Errorf("%s: side effects %s, reinvocation %s", w.Name, *w.SideEffects, *w.ReinvocationPolicy)
		}
	}
}
