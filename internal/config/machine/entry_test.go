package machine

import (
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/internal/config"
)

// TestEntryOfGroup: a machine is what its group's template says, at its address.
func TestEntryOfGroup(t *testing.T) {
	group := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "legacy", "namespace": "shop"},
		"spec": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"app": "carts"}, "annotations": map[string]any{"note": "x"}},
			"probe":    map[string]any{"tcpSocket": map[string]any{"port": int64(8081)}},
			"template": map[string]any{"serviceAccount": "legacy", "ports": map[string]any{"http": int64(8081)}},
		},
	}}
	got, err := Entry(group, "legacy-1", netip.MustParseAddr("192.0.2.7"))
	if err != nil {
		t.Fatal(err)
	}
	address, _, _ := unstructured.NestedString(got.Object, "spec", "address")
	account, _, _ := unstructured.NestedString(got.Object, "spec", "serviceAccount")
	if got.GetName() != "legacy-1" || got.GetNamespace() != "shop" || address != "192.0.2.7" || account != "legacy" {
		t.Errorf("got %v", got.Object)
	}
	if got.GetLabels()["app"] != "carts" || got.GetAnnotations()[config.GroupOf] != "legacy" || got.GetAnnotations()["note"] != "x" || got.GetAnnotations()[config.HealthChecked] != "true" {
		t.Errorf("labels %v, annotations %v", got.GetLabels(), got.GetAnnotations())
	}
	if _, set, _ := unstructured.NestedString(group.Object, "spec", "template", "address"); set {
		t.Error("the group itself was changed")
	}
}
