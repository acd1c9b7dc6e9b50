package status

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/weftmesh/weft/pilot/internal/xds"
)

// An ejection becomes an Event on the pod, which says by whom and why; another of
// the same counts it up. Of a pod that is gone there is none, and a flood is dropped.
func TestEjectionsBecomeEvents(t *testing.T) {
	client := fake.NewClientset(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews-1", UID: "17"}})
	e := NewEjections()
	one := xds.Ejection{Namespace: "shop", Pod: "reviews-1", By: "shop/front-1", Host: "reviews.shop.svc.cluster.local", Port: "80", Reason: "consecutive_gateway_failure"}
	gone := one
	gone.Pod = "reviews-2"
	for _, r := range []xds.Ejection{gone, one, one} {
		e.Report(r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.run(ctx, client, slog.New(slog.DiscardHandler)) }()
	deadline, tick := time.After(time.Minute), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		all, err := client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(all.Items) == 1 && all.Items[0].Count == 2 {
			ev := all.Items[0]
			got := fmt.Sprintf("%s %s %s/%s %s %s %s: %s", ev.Type, ev.Reason, ev.InvolvedObject.Namespace, ev.InvolvedObject.Name, ev.InvolvedObject.UID, ev.InvolvedObject.Kind, ev.Source.Component, ev.Message)
			if got != "Warning Ejected shop/reviews-1 17 Pod weft-pilot: The proxy of shop/front-1 sends it no requests to reviews.shop.svc.cluster.local:80 for a while, for its outlier detection saw: consecutive gateway failure." {
				t.Error(got)
			}
			break
		}
		select {
		case <-deadline:
			t.Fatalf("there is %+v", all.Items)
		case <-tick.C:
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for range 2 * maxWaiting { // nobody takes them, and nobody waits
		e.Report(one)
	}
}
