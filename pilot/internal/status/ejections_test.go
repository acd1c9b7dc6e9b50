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
	now := time.Now()
	e.now = func() time.Time { return now }
	for _, r := range []xds.Ejection{gone, one} {
		e.Report(r)
	}
	now = now.Add(quiet)
	e.Report(one)
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
	for i := range 2 * maxWaiting { // nobody takes them, and nobody waits
		one.Pod = fmt.Sprint(i)
		e.Report(one)
	}
}

// A pod that is taken back has an Event that is no warning, and is not kept from it
// by the ejection just before.
func TestTakenBackIsANormalEvent(t *testing.T) {
	client := fake.NewClientset(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews-1", UID: "17"}})
	e := NewEjections()
	one := xds.Ejection{Namespace: "shop", Pod: "reviews-1", By: "shop/front-1", Host: "reviews.shop.svc.cluster.local", Port: "80", Reason: "consecutive_5xx"}
	e.Report(one)
	one.Reason = xds.TakenBack
	e.Report(one)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.run(ctx, client, slog.New(slog.DiscardHandler)) }()
	deadline, tick := time.After(time.Minute), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for got := map[string]string{}; got["Normal TakenBack"] == "" || got["Warning Ejected"] == ""; {
		all, err := client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range all.Items {
			got[ev.Type+" "+ev.Reason] = ev.Message
		}
		if said := got["Normal TakenBack"]; said != "" && said != "The proxy of shop/front-1 sends it requests to reviews.shop.svc.cluster.local:80 again." {
			t.Error(said)
		}
		select {
		case <-deadline:
			t.Fatalf("there is %v", got)
		case <-tick.C:
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A bad pod of many callers, and a proxy that repeats itself, take no room from
// other pods; what is remembered for that is bounded, and forgotten.
func TestRepeatedEjectionsCrowdOutNoOthers(t *testing.T) {
	e := NewEjections()
	now := time.Now()
	e.now = func() time.Time { return now }
	bad := xds.Ejection{Namespace: "shop", Pod: "bad", Reason: "consecutive_5xx"}
	for i := range 10 * maxWaiting {
		bad.By = fmt.Sprint("shop/front-", i)
		e.Report(bad)
	}
	other, why := bad, bad
	other.Pod, why.Reason = "other", "success_rate"
	e.Report(other)
	e.Report(why)
	if n := len(e.waiting); n != 3 {
		t.Fatalf("%d wait", n)
	}
	now = now.Add(quiet - time.Nanosecond)
	e.Report(bad)
	if n := len(e.waiting); n != 3 {
		t.Errorf("%d wait: one is taken again too soon", n)
	}
	now = now.Add(time.Nanosecond)
	e.Report(bad)
	if n := len(e.waiting); n != 4 {
		t.Errorf("%d wait: one is not taken again", n)
	}
	for i := range 2 * maxQuiet {
		other.Pod = fmt.Sprint(i)
		e.Report(other)
		<-e.waiting
	}
	if n := len(e.taken); n != maxQuiet {
		t.Errorf("%d are remembered", n)
	}
	now = now.Add(quiet)
	e.Report(other)
	if n := len(e.taken); n != 1 {
		t.Errorf("%d are remembered that are old", n)
	}
}
