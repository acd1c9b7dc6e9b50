// Package traffic tests on a real cluster what the mesh does to requests and
// gRPC calls: canary, header match, mirror, faults, retries and time-outs
// through the ingress gateway; calls of one gRPC connection over pods of both
// nodes, while they are scaled; ejection, mTLS, STRICT, attested identities and
// the rotation of certificates under load. It uses the weft binary, kubectl and
// the samples as users have them, and imports nothing of the mesh.
package traffic

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/test/cluster"
)

// patience ends a wait that hangs; no test waits for it when all is well.
const patience = 2 * time.Minute

const (
	samples  = "../../../samples/"
	bookshop = "/bin/bookshop" // in a pod
)

// bench is a cluster of two nodes with Weft installed as a user would.
type bench struct {
	*testing.T
	cluster *cluster.Cluster
	client  *kubernetes.Clientset
	kubectl string
	bin     string // folder of this tree's programs
	doors   []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	cluster.Require(t)
	bin, archives := cluster.Images(t, "v0.0.0-traffic")
	b := &bench{T: t, bin: bin, kubectl: cluster.Kubectl(t)}
	b.cluster = cluster.New(t, cluster.Options{Nodes: 2, Images: archives})
	var err error
	if b.client, err = b.cluster.Clientset(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) on(t *testing.T) *bench {
	n := *b
	n.T = t
	return &n
}

// part runs one part of the test, beside the others if it is parallel.
func (b *bench) part(name string, parallel bool, run func(*bench)) {
	b.Run(name, func(t *testing.T) {
		if parallel {
			t.Parallel()
		}
		run(b.on(t))
	})
}

// weft runs the CLI, which must succeed.
func (b *bench) weft(input string, args ...string) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "weft"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.cluster.Kubeconfig(), "WEFT_MESH=")
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &said
	if err := cmd.Run(); err != nil {
		b.Fatalf("weft %s: %v\n%s%s", strings.Join(args, " "), err, &out, &said)
	}
	return out.String()
}

// run calls kubectl; input is what it reads.
func (b *bench) run(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	return b.cluster.Ask(ctx, b.kubectl, input, args...)
}

func (b *bench) must(input string, args ...string) string {
	b.Helper()
	out, err := b.run(input, args...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// apply is kubectl apply in a namespace.
func (b *bench) apply(namespace, manifest string) {
	b.Helper()
	b.must(manifest, "apply", "-n", namespace, "-f", "-")
}

// eventually waits for check to give no error.
func (b *bench) eventually(what string, check func() error) {
	b.Helper()
	cluster.Eventually(b, patience, what, check)
}

// pods are those of an app that do not end, by name.
func (b *bench) pods(namespace, selector string) map[string]corev1.Pod {
	b.Helper()
	list, err := b.client.CoreV1().Pods(namespace).List(b.Context(), metav1.ListOptions{LabelSelector: selector})
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
	b.must("", "wait", "-n", namespace, "--for=condition=Available", "deployment", "--all", "--timeout=120s")
	list, err := b.client.AppsV1().Deployments(namespace).List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range list.Items {
		if err := b.cluster.Available(b.Context(), namespace, d.Name); err != nil {
			b.Fatal(err)
		}
	}
}

// namespace makes one whose pods get sidecars.
func (b *bench) namespace(name string) {
	b.Helper()
	b.must(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {istio-injection: enabled}}}", name), "apply", "-f", "-")
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
