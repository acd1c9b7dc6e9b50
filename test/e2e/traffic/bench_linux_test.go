// Package traffic tests on a real cluster what the mesh does to requests and
// gRPC calls: canary, header match, mirror, faults, retries and time-outs
// through the ingress gateway; calls of one gRPC connection over pods of both
// nodes, while they are scaled; ejection, mTLS, STRICT, attested identities and
// the rotation of certificates under load; and what weft stat, edges, endpoints
// and mtls status say of all that. It uses the weft binary, kubectl and
// the samples as users have them, and imports nothing of the mesh.
package traffic

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/test/e2e/rig"
)

const (
	samples  = "../../../samples/"
	bookshop = "/bin/bookshop" // in a pod
)

// bench is a cluster with the doors of its gateway.
type bench struct {
	*rig.Rig
	doors []string
}

func newBench(t *testing.T) *bench { t.Helper(); return &bench{Rig: rig.New(t)} }

func (b *bench) on(t *testing.T) *bench { return &bench{b.On(t), b.doors} }

// part runs one part of the test, beside the others if it is parallel.
func (b *bench) part(name string, parallel bool, run func(*bench)) {
	b.Run(name, func(t *testing.T) {
		if parallel {
			t.Parallel()
		}
		run(b.on(t))
	})
}

// apply is kubectl apply in a namespace.
func (b *bench) apply(namespace, manifest string) {
	b.Helper()
	b.Must(manifest, "apply", "-n", namespace, "-f", "-")
}

// pods are those of an app that do not end, by name.
func (b *bench) pods(namespace, selector string) map[string]corev1.Pod {
	b.Helper()
	list, err := b.API.CoreV1().Pods(namespace).List(b.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		b.Fatal(err)
	}
	out := map[string]corev1.Pod{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			out[p.Name] = p
		}
	}
	return out
}

// names are those of pods, in order.
func names(pods map[string]corev1.Pod) []string { return slices.Sorted(maps.Keys(pods)) }

// ready waits for all Deployments of a namespace.
func (b *bench) ready(namespace string) {
	b.Helper()
	b.Must("", "wait", "-n", namespace, "--for=condition=Available", "deployment", "--all", "--timeout=120s")
	list, err := b.API.AppsV1().Deployments(namespace).List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range list.Items {
		if err := b.Available(b.Context(), namespace, d.Name); err != nil {
			b.Fatal(err)
		}
	}
}

// namespace makes one whose pods get sidecars.
func (b *bench) namespace(name string) {
	b.Helper()
	b.Must(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {istio-injection: enabled}}}", name), "apply", "-f", "-")
}

// file is the text of one of a sample.
func (b *bench) file(name string) string {
	b.Helper()
	text, err := os.ReadFile(samples + name)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// replaced is the text with each old in place of its new one; all must be there.
func (b *bench) replaced(text string, pairs ...string) string {
	b.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			b.Fatalf("there is no %q in:\n%s", pairs[i], text)
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
