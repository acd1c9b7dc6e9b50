package status

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/pilot/internal/xds"
)

// Healthy is the condition by which a WorkloadEntry is out of its services while
// it is False. Source: Istio's status of WorkloadEntries.
const Healthy = "Healthy"

// Health writes what processes outside say of themselves into their
// WorkloadEntries' status: every replica for those that are connected to it.
type Health struct {
	mu      sync.Mutex
	pending map[string]xds.Health // by "namespace/name": the last word
	filled  chan struct{}
}

// NewHealth takes reports at once; Run writes them.
func NewHealth() *Health {
	return &Health{pending: map[string]xds.Health{}, filled: make(chan struct{}, 1)}
}

// Report never waits.
func (h *Health) Report(r xds.Health) {
	h.mu.Lock()
	h.pending[r.Namespace+"/"+r.Name] = r
	h.mu.Unlock()
	select {
	case h.filled <- struct{}{}:
	default:
	}
}

// take gives all that is to be written.
func (h *Health) take() map[string]xds.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.pending
	h.pending = map[string]xds.Health{}
	return out
}

// again puts a report back, unless there is a newer one.
func (h *Health) again(r xds.Health) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if key := r.Namespace + "/" + r.Name; h.pending[key] == (xds.Health{}) {
		h.pending[key] = r
	}
}

// entries is the kind's resource.
var entries = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "workloadentries"}

// Run writes until ctx ends; then it returns nil.
func (h *Health) Run(ctx context.Context, c *rest.Config, log *slog.Logger) error {
	slow := rest.CopyConfig(c)
	slow.RateLimiter, slow.QPS, slow.Burst = nil, Rate, Rate
	client, err := dynamic.NewForConfig(slow)
	if err != nil {
		return err
	}
	for {
		failed := false
		for _, r := range h.take() {
			if err := write(ctx, client, r); err != nil && ctx.Err() == nil {
				log.Warn("the health of a WorkloadEntry is not written; will try again", "namespace", r.Namespace, "name", r.Name, "error", err)
				h.again(r)
				failed = true
			}
		}
		if failed && pause(ctx, time.Second) {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.filled:
		}
	}
}

// tries bounds how often one status is written anew because another wrote it
// meanwhile.
const tries = 5

func write(ctx context.Context, client dynamic.Interface, r xds.Health) (err error) {
	to := client.Resource(entries).Namespace(r.Namespace)
	for range tries {
		var now *unstructured.Unstructured
		if now, err = to.Get(ctx, r.Name, metav1.GetOptions{}); err != nil {
			return gone(err)
		}
		patch, same, e := healthPatch(now, r, time.Now())
		if e != nil || same {
			return e
		}
		if _, err = to.Patch(ctx, r.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: Manager}, "status"); !apierrors.IsConflict(err) {
			return gone(err)
		}
	}
	return err
}

// gone makes no error of an entry that does not exist any more.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// healthPatch replaces the condition in an entry's status; same: it says so already.
func healthPatch(now *unstructured.Unstructured, r xds.Health, at time.Time) (patch []byte, same bool, err error) {
	next := map[string]any{"type": Healthy, "status": "True", "reason": "Probe", "message": "its probe finds it well", "lastTransitionTime": at.UTC().Format(time.RFC3339)}
	if r.Trouble != "" {
		next["status"], next["message"] = "False", clip(r.Trouble)
	}
	list, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
	conditions := []any{}
	for _, c := range list {
		was, ok := c.(map[string]any)
		if !ok || was["type"] != Healthy {
			conditions = append(conditions, c)
			continue
		}
		if was["status"] == next["status"] && was["message"] == next["message"] {
			return nil, true, nil
		}
	}
	patch, err = json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": now.GetResourceVersion()}, // else another's condition could be lost
		"status":   map[string]any{"conditions": append(conditions, next)},
	})
	return patch, false, err
}

// foreign are the conditions of an object that others write.
func foreign(o *unstructured.Unstructured) (out []any) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range list {
		if was, ok := c.(map[string]any); ok && was["type"] != Accepted && was["type"] != Programmed {
			out = append(out, c)
		}
	}
	return out
}
