package identity

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/ca/internal/refusal"
)

// ownedBy makes a pod one of a controller's.
func ownedBy(kind, name string, labels map[string]string) func(*corev1.Pod) {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: "1", Controller: &yes}}
		for k, v := range labels {
			p.Labels[k] = v
		}
	}
}

func TestWorkloadOf(t *testing.T) {
	hash := map[string]string{"pod-template-hash": "6c5d"}
	for _, tc := range []struct {
		what, kind, owner string
		labels            map[string]string
		want              string
	}{
		{"no owner", "", "", nil, "pod-0"},
		{"Deployment", "ReplicaSet", "reviews-v1-6c5d", hash, "reviews-v1"},
		{"Rollout", "ReplicaSet", "reviews-6c5d", map[string]string{"rollouts-pod-template-hash": "6c5d"}, "reviews"},
		{"ReplicaSet alone", "ReplicaSet", "reviews", nil, "reviews"},
		{"ReplicaSet with somebody's hash", "ReplicaSet", "reviews-6c5", hash, "reviews-6c5"},
		{"StatefulSet", "StatefulSet", "db", nil, "db"},
		{"DaemonSet", "DaemonSet", "log", hash, "log"},
		{"Job", "Job", "migrate", nil, "migrate"},
		{"CronJob", "Job", "report-28123456", nil, "report"},
		{"Job with a year", "Job", "report-2026", nil, "report-2026"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod-0", Labels: map[string]string{}}}
		if tc.kind != "" {
			ownedBy(tc.kind, tc.owner, tc.labels)(pod)
		}
		if got := workloadOf(pod); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod-0"}}
	controller := false
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Node", Name: "n", Controller: &controller}}
	if got := workloadOf(pod); got != "pod-0" {
		t.Errorf("owner that does not control: %q", got)
	}
}

func TestCanonical(t *testing.T) {
	for _, tc := range []struct {
		labels       map[string]string
		app, version string
	}{
		{nil, "wl", "latest"},
		{map[string]string{"app": "a", "version": "v1"}, "a", "v1"},
		{map[string]string{"app": "a", "app.kubernetes.io/name": "b", "version": "v1", "app.kubernetes.io/version": "v2"}, "b", "v2"},
		{map[string]string{"app": "a", "service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "v3"}, "c", "v3"},
	} {
		if app, version := canonical(tc.labels, "wl"); app != tc.app || version != tc.version {
			t.Errorf("%v: %s %s, want %s %s", tc.labels, app, version, tc.app, tc.version)
		}
	}
}

// A review refuses what should have been gone for a minute, and so must who asks
// for none: the pod of a lost node, or one that a finalizer keeps.
func TestPodThatShouldBeGone(t *testing.T) {
	b := binding{namespace: "shop", account: "reviews", pod: "reviews-0", uid: "1"}
	for ago, want := range map[time.Duration]refusal.Reason{-30 * time.Second: "", 30 * time.Second: "", 2 * time.Minute: refusal.PodGone} {
		due := metav1.NewTime(time.Now().Add(-ago))
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews-0", UID: "1", DeletionTimestamp: &due},
			Spec:       corev1.PodSpec{ServiceAccountName: "reviews", NodeName: "node"},
		}
		if err := b.check(pod); refusal.Of(err) != want {
			t.Errorf("%v after its time: %v, want %q", ago, err, want)
		}
	}
}
