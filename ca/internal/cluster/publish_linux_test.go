package cluster

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/test/boundtoken"
	"github.com/weftmesh/weft/test/plugca"
)

// soon is how long a namespace may be without its ConfigMap.
const soon = time.Second

// roots is what a namespace's ConfigMap holds; "" if there is none.
func (f *fixture) roots(namespace string) string {
	m, err := f.api.CoreV1().ConfigMaps(namespace).Get(f.t.Context(), RootConfigMap, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return m.Data[RootKey]
}

func (f *fixture) namespaceOf(prefix string) string {
	f.t.Helper()
	return boundtoken.New(f.t, f.api, prefix).Namespace
}

func TestRootsInEachNamespace(t *testing.T) {
	f := newFixture(t)
	c := f.replica("a")
	want := string(f.open(c).RootPEM)
	early := f.namespaceOf("early")
	f.run(c.Publish)
	for _, namespace := range []string{f.namespace, early, "default"} {
		f.within(deadline, "roots in "+namespace, func() bool { return f.roots(namespace) == want })
	}
	late := f.namespaceOf("late")
	f.within(soon, "roots in a new namespace", func() bool { return f.roots(late) == want })
	m, err := f.api.CoreV1().ConfigMaps(late).Get(t.Context(), RootConfigMap, metav1.GetOptions{})
	if err != nil || m.Labels["istio.io/config"] != "true" {
		t.Errorf("labels %v, %v", m.Labels, err)
	}
	for _, namespace := range without {
		if f.roots(namespace) != "" {
			t.Errorf("roots in %s", namespace)
		}
	}
}

func TestRootsAreRepaired(t *testing.T) {
	f := newFixture(t)
	c := f.replica("a")
	want := string(f.open(c).RootPEM)
	shop := f.namespaceOf("shop")
	f.run(c.Publish)
	f.within(deadline, "roots", func() bool { return f.roots(shop) == want })
	maps := f.api.CoreV1().ConfigMaps(shop)
	if err := maps.Delete(t.Context(), RootConfigMap, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.within(soon, "the deleted ConfigMap is back", func() bool { return f.roots(shop) == want })
	f.edit(shop, func(m *corev1.ConfigMap) { m.Data, m.Labels = map[string]string{RootKey: "evil", "mine": "x"}, nil })
	f.within(soon, "the edited ConfigMap is repaired", func() bool { return f.roots(shop) == want })
	m, err := maps.Get(t.Context(), RootConfigMap, metav1.GetOptions{})
	if err != nil || m.Data["mine"] != "x" || m.Labels["istio.io/config"] != "true" {
		t.Errorf("after the repair: %v, %v, %v", m.Data, m.Labels, err)
	}
	yes := true
	f.edit(shop, func(m *corev1.ConfigMap) { m.Data, m.Immutable = map[string]string{RootKey: "evil"}, &yes })
	f.within(soon, "the immutable ConfigMap is replaced", func() bool { return f.roots(shop) == want })
}

func (f *fixture) edit(namespace string, change func(*corev1.ConfigMap)) {
	f.t.Helper()
	maps := f.api.CoreV1().ConfigMaps(namespace)
	m, err := maps.Get(f.t.Context(), RootConfigMap, metav1.GetOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	change(m)
	if _, err := maps.Update(f.t.Context(), m, metav1.UpdateOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

// Terminating namespaces are left to their end.
func TestNamespaceThatEnds(t *testing.T) {
	f := newFixture(t)
	c := f.replica("a")
	want := string(f.open(c).RootPEM)
	f.run(c.Publish)
	shop := f.namespaceOf("shop")
	f.within(deadline, "roots", func() bool { return f.roots(shop) == want })
	if err := f.api.CoreV1().Namespaces().Delete(t.Context(), shop, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.api.CoreV1().ConfigMaps(shop).Delete(t.Context(), RootConfigMap, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	after := f.namespaceOf("after") // what came later has been seen to
	f.within(deadline, "roots", func() bool { return f.roots(after) == want })
	if f.roots(shop) != "" {
		t.Error("written into a namespace that ends")
	}
}

// One replica writes at a time; the other takes over when it stops, and new
// roots reach every namespace.
func TestOneReplicaLeads(t *testing.T) {
	f := newFixture(t)
	a, b := f.replica("a"), f.replica("b")
	f.open(a)
	f.open(b)
	stopA := f.run(a.Publish)
	f.within(deadline, "a leads", func() bool { return f.holder() == "a" })
	f.run(b.Publish)
	parts := plugin(t, plugca.EC)
	want := string(parts[store.RootFile])
	f.following(a)
	f.following(b)
	f.put(PluggedIn, parts)
	f.within(deadline, "the new roots", func() bool { return f.roots(f.namespace) == want })
	if holder := f.holder(); holder != "a" {
		t.Errorf("%s leads", holder)
	}
	stopA()
	f.within(deadline, "b leads", func() bool { return f.holder() == "b" })
	late := f.namespaceOf("late")
	f.within(deadline, "roots by b", func() bool { return f.roots(late) == want })
}

func (f *fixture) holder() string {
	lease, err := f.api.CoordinationV1().Leases(f.namespace).Get(context.Background(), Lease, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
