package traffic

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/weftmesh/weft/samples/bookshop/load"
)

// usedWithin is how soon after it is Ready a new pod must be called, on a machine
// that may stand still for a while; the goal, for the time that is logged, is 2 s.
const usedWithin = 30 * time.Second

// services are those of the gRPC sample: with an address of its own, and
// headless.
var services = []string{"ratings-vip", "ratings"}

func (b *bench) grpc() {
	b.part("spread", false, (*bench).spread)
	b.part("scaled", false, (*bench).scaled)
}

// spread: the calls of one connection go evenly to pods of both nodes.
func (b *bench) spread() {
	const calls = 1200
	pods := b.pods("calls", "app=ratings")
	nodes := map[string]int{}
	for _, p := range pods {
		nodes[p.Spec.NodeName]++
	}
	if len(pods) != 3 || len(nodes) != 2 {
		b.Fatalf("pods by node: %v, want three on two", nodes)
	}
	for _, service := range services {
		var report load.GRPCReport
		out := b.Must("", "exec", "-n", "calls", "deploy/client", "--", bookshop, "grpc-load", "--target", service+":9000", "--calls", fmt.Sprint(calls))
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			b.Fatal(err)
		}
		b.Logf("%s: %d calls on %d connection, p50 %.1f ms, p99 %.1f ms", service, report.Total, report.Connections, report.P50, report.P99)
		if report.Failed > 0 || report.Connections != 1 || report.Total != calls {
			b.Errorf("%s: %+v", service, report)
		}
		b.evenly(service, report.ByPod, pods)
	}
}

// evenly: each of the pods, and no other, has its share.
func (b *bench) evenly(what string, got map[string]int, pods map[string]corev1.Pod) {
	b.Helper()
	sum := 0
	for pod, n := range got {
		if sum += n; pods[pod].Name == "" {
			b.Errorf("%s: %d calls were answered by %s, which is none of %v", what, n, pod, names(pods))
		}
	}
	// Not a throw of dice: of two pods the one with fewer calls under way is
	// taken, and on a busy machine one pod has more of them for a while. A
	// pinned connection gives one pod all, and the others none.
	fair := sum / len(pods)
	low, high := fair/3, fair*5/3
	b.Logf("%s: calls by pod %v, want %d to %d", what, got, low, high)
	for pod := range pods {
		if got[pod] < low || got[pod] > high {
			b.Errorf("%s: %s had %d calls of %d, want %d to %d", what, pod, got[pod], sum, low, high)
		}
	}
}

// scaled: from three pods to six and to two while calls run. A new pod is called
// soon after it is Ready, and no call fails.
func (b *bench) scaled() {
	old := b.pods("calls", "app=ratings")
	ready := b.watchReady("calls", "app=ratings")
	var streams []*stream
	for _, service := range services {
		streams = append(streams, b.fromPod("calls", "client", "grpc-load", "--target", service+":9000", "--calls", "0", "--rps", "100", "--workers", "4"))
	}
	for _, s := range streams {
		s.since(time.Now(), 100)
	}
	b.Must("", "scale", "-n", "calls", "deployment/ratings", "--replicas=6")
	b.ready("calls")
	pods := b.pods("calls", "app=ratings")
	if len(pods) != 6 {
		b.Fatalf("pods: %v, want six", names(pods))
	}
	for _, s := range streams {
		for _, pod := range names(pods) {
			if _, known := old[pod]; !known {
				b.used(s, pod, ready(pod))
			}
		}
	}
	for _, s := range streams {
		b.evenly(s.what, byPod(s.since(time.Now(), 300)), pods)
	}
	b.Must("", "scale", "-n", "calls", "deployment/ratings", "--replicas=2")
	b.Eventually("two pods are left", func() error {
		list, err := b.API.CoreV1().Pods("calls").List(b.Context(), metav1.ListOptions{LabelSelector: "app=ratings"})
		if err == nil && len(list.Items) != 2 {
			err = fmt.Errorf("%d pods", len(list.Items))
		}
		return err
	})
	left := b.pods("calls", "app=ratings")
	for _, s := range streams {
		b.evenly(s.what, byPod(s.since(time.Now(), 200)), left)
		lines := s.stop()
		b.Logf("%s: %d calls, none failed while 3 pods became 6 and 2: %v", s.what, len(lines), byPod(lines))
	}
}

// used says when a pod got its first call after it was Ready.
func (b *bench) used(s *stream, pod string, ready time.Time) {
	b.Helper()
	var first time.Time
	s.until(pod+" is called", func(lines []load.Line) error {
		for _, l := range lines {
			if l.Answer.Pod == pod {
				first = l.Start
				return nil
			}
		}
		return fmt.Errorf("not yet: %v", byPod(lines))
	})
	after := first.Sub(ready)
	b.Logf("%s: %s was called %v after it was Ready", s.what, pod, after.Round(time.Millisecond))
	if after > usedWithin {
		b.Errorf("%s: %s was called only %v after it was Ready, want %v", s.what, pod, after, usedWithin)
	}
}

func byPod(lines []load.Line) map[string]int {
	out := map[string]int{}
	for _, l := range lines {
		if l.Answer.Pod != "" {
			out[l.Answer.Pod]++
		}
	}
	return out
}

// watchReady notes when the API server first says of a pod that it is Ready; the
// condition's own time counts whole seconds.
func (b *bench) watchReady(namespace, selector string) func(pod string) time.Time {
	b.Helper()
	events, err := b.API.CoreV1().Pods(namespace).Watch(b.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(events.Stop)
	var lock sync.Mutex
	ready := map[string]time.Time{}
	go note(b.Context(), events, func(pod string) {
		lock.Lock()
		defer lock.Unlock()
		if ready[pod].IsZero() {
			ready[pod] = time.Now()
		}
	})
	return func(pod string) (at time.Time) {
		b.Helper()
		b.Eventually(pod+" is seen to be Ready", func() error {
			lock.Lock()
			defer lock.Unlock()
			if at = ready[pod]; at.IsZero() {
				return fmt.Errorf("not yet")
			}
			return nil
		})
		return at
	}
}

// note calls seen for each event of a pod that is Ready.
func note(ctx context.Context, events watch.Interface, seen func(pod string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, more := <-events.ResultChan():
			if !more {
				return
			}
			if pod, ok := e.Object.(*corev1.Pod); ok && isReady(pod) {
				seen(pod.Name)
			}
		}
	}
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
