package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/test/e2e/rig"
)

// world is a cluster all of whose objects can be listed.
type world struct {
	*rig.Rig
	any  dynamic.Interface
	shop string // the sample's program
}

func newWorld(t *testing.T) *world {
	t.Helper()
	r := rig.New(t)
	config := r.RESTConfig()
	config.WarningHandler = rest.NoWarnings{} // every kind is listed, old ones too
	any, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &world{Rig: r, any: any, shop: filepath.Join(r.Bin, "bookshop")}
}

// do calls weft, which must succeed, and gives all that it printed.
func (w *world) do(args ...string) string {
	w.Helper()
	s := w.Weft("", args...)
	if s.Code != 0 {
		w.Fatalf("weft %s: %v", strings.Join(args, " "), s)
	}
	return s.All()
}

// objects are the names of all that there is in the cluster, with labels and
// annotations of namespaces and nodes, but for what comes and goes by itself.
func (w *world) objects() map[string]bool {
	w.Helper()
	_, lists, err := w.API.Discovery().ServerGroupsAndResources()
	if err != nil {
		w.Fatal(err)
	}
	out := map[string]bool{}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			w.Fatal(err)
		}
		for _, r := range l.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Kind == "Event" || r.Kind == "ComponentStatus" || r.Kind == "APIService" {
				continue
			}
			found, err := w.any.Resource(gv.WithResource(r.Name)).List(w.Context(), metav1.ListOptions{})
			if err != nil {
				w.Fatalf("list %s: %v", r.Name, err)
			}
			for i := range found.Items {
				o := &found.Items[i]
				if o.GetNamespace() == corev1.NamespaceNodeLease {
					continue // a kubelet makes its own when it comes to it
				}
				name := strings.Join([]string{l.GroupVersion, r.Kind, o.GetNamespace(), o.GetName()}, " ")
				if r.Kind == "Namespace" || r.Kind == "Node" {
					name += fmt.Sprint(" ", o.GetLabels())
				}
				out[name] = true
			}
		}
	}
	return out
}

// difference are the names that only one of two has.
func difference(before, after map[string]bool) (out []string) {
	for name := range maps.Keys(before) {
		if !after[name] {
			out = append(out, "-"+name)
		}
	}
	for name := range maps.Keys(after) {
		if !before[name] {
			out = append(out, "+"+name)
		}
	}
	slices.Sort(out)
	return out
}
