package config

import (
	"fmt"
	"math/rand/v2"
	"testing"

	meshv1 "istio.io/api/mesh/v1alpha1"
)

// What an edited Set leaves is what it leaves from nothing, whichever Namespace,
// object or selector was edited.
func TestDiscoveryFollowsEdits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 7)) //nolint:gosec // the same at each run
	set, d := Set{}, Discovery{}
	for step := range 2000 {
		set = discoveryEdit(rnd, set)
		got, want := d.Set(set), Discovered(set)
		if !got.Equal(want) {
			t.Fatalf("step %d: services %v, from nothing %v", step, got.Of(Service).Len(), want.Of(Service).Len())
		}
		if again := d.Set(set); again.Of(Service) != got.Of(Service) {
			t.Fatalf("step %d: the same set gives other tables", step)
		}
	}
}

func discoveryEdit(rnd *rand.Rand, set Set) Set {
	ns := fmt.Sprintf("n%d", rnd.IntN(5))
	switch rnd.IntN(10) {
	case 0:
		return set.Without(MeshConfig, "/mesh")
	case 1, 2:
		mesh := &meshv1.MeshConfig{RootNamespace: fmt.Sprintf("n%d", rnd.IntN(9))}
		for range rnd.IntN(3) {
			mesh.DiscoverySelectors = append(mesh.DiscoverySelectors, &meshv1.LabelSelector{MatchLabels: map[string]string{"env": fmt.Sprint(rnd.IntN(3))}})
		}
		return set.With(&Object{Kind: MeshConfig, Name: "mesh", Spec: mesh})
	case 3, 4:
		return set.With(&Object{Kind: Namespace, Name: ns, Labels: map[string]string{"env": fmt.Sprint(rnd.IntN(3))}})
	case 5:
		return set.Without(Namespace, "/"+ns)
	case 6:
		return set.Without(Service, ns+"/a")
	default:
		return set.With(&Object{Kind: Service, Namespace: ns, Name: fmt.Sprintf("%c", 'a'+rune(rnd.IntN(3)))})
	}
}

// Source: istio.io/api mesh/v1alpha1, MeshConfig.discoverySelectors; Kubernetes,
// "Label selectors", and its well-known label kubernetes.io/metadata.name.
func TestDiscoverySelects(t *testing.T) {
	expression := func(key, operator string, values ...string) *meshv1.LabelSelector {
		return &meshv1.LabelSelector{MatchExpressions: []*meshv1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	for _, c := range []struct {
		name      string
		selectors []*meshv1.LabelSelector
		want      bool
	}{
		{"none", nil, true},
		{"an empty one", []*meshv1.LabelSelector{{}}, true},
		{"by name", []*meshv1.LabelSelector{{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "shop"}}}, true},
		{"by another name", []*meshv1.LabelSelector{{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "desk"}}}, false},
		{"one of two", []*meshv1.LabelSelector{{MatchLabels: map[string]string{"env": "test"}}, expression("env", "In", "prod", "stage")}, true},
		{"not in", []*meshv1.LabelSelector{expression("env", "NotIn", "prod")}, false},
		{"is there", []*meshv1.LabelSelector{expression("env", "Exists")}, true},
		{"is not there", []*meshv1.LabelSelector{expression("env", "DoesNotExist")}, false},
		{"one that is none", []*meshv1.LabelSelector{{MatchLabels: map[string]string{"env": "test"}}, expression("env", "In")}, true},
	} {
		set := Set{}.With(&Object{Kind: MeshConfig, Name: "mesh", Spec: &meshv1.MeshConfig{DiscoverySelectors: c.selectors}}).
			With(&Object{Kind: Namespace, Name: "shop", Labels: map[string]string{"env": "prod"}}).
			With(&Object{Kind: Service, Namespace: "shop", Name: "web"}).
			With(&Object{Kind: Service, Namespace: "weft-system", Name: "own"})
		out := Discovered(set)
		if _, got := out.Of(Service).Get("shop/web"); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if _, ok := out.Of(Service).Get("weft-system/own"); !ok {
			t.Errorf("%s: the system namespace is not read", c.name)
		}
	}
}
