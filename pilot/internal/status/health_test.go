package status

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/pilot/internal/xds"
)

// Condition Healthy and the pilot's own stand in one list: who writes one keeps
// the other, and what is said already is not written again.
func TestHealthBesideOtherConditions(t *testing.T) {
	entry := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"resourceVersion": "7"}, "status": map[string]any{"conditions": []any{
		map[string]any{"type": Accepted, "status": "True"}, map[string]any{"type": Healthy, "status": "True", "message": "its probe finds it well"},
	}}}}
	if _, same, err := healthPatch(entry, xds.Health{}, time.Now()); !same || err != nil {
		t.Errorf("the same again: %v, %v", same, err)
	}
	patch, same, err := healthPatch(entry, xds.Health{Trouble: "nobody listens"}, time.Now())
	if same || err != nil {
		t.Fatal(same, err)
	}
	var out struct {
		Metadata struct{ ResourceVersion string }
		Status   struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := json.Unmarshal(patch, &out); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(out); got != "{{7} {[{Accepted True } {Healthy False nobody listens}]}}" {
		t.Errorf("patch %s", got)
	}
	body := written{}.body(foreign(entry))
	if list := body["conditions"].([]any); len(list) != 3 || list[2].(map[string]any)["type"] != Healthy {
		t.Errorf("the pilot's own status would be %v", list)
	}
}

// A report that failed does not go over a newer one.
func TestHealthNewestWins(t *testing.T) {
	h := NewHealth()
	old, next := xds.Health{Namespace: "shop", Name: "a", Trouble: "old"}, xds.Health{Namespace: "shop", Name: "a", Trouble: "new"}
	h.Report(old)
	h.take()
	h.Report(next)
	h.again(old)
	if got := h.take()["shop/a"]; got != next {
		t.Errorf("to be written is %v", got)
	}
	h.again(old)
	if got := h.take()["shop/a"]; got != old {
		t.Errorf("to be written is %v", got)
	}
}
