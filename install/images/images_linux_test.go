package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/test/cluster"
)

// binaries builds those of the images, as `make build` does.
func binaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=test",
		"-o", dir+"/", "./cmd/...", "./samples/bookshop/cmd/...")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// TestImages writes every image twice, with the same bytes, and runs each on a
// node as a pod that may do nothing: not root, no capability, a file system that
// cannot be written.
func TestImages(t *testing.T) {
	bin, first, second := binaries(t), t.TempDir(), t.TempDir()
	for _, out := range []string{first, second} {
		if err := run(t.Context(), options{hub: "localhost/weft", tag: "test", bin: bin, out: out}); err != nil {
			t.Fatal(err)
		}
	}
	archives, err := filepath.Glob(first + "/*.tar")
	if err != nil || len(archives) != 5 {
		t.Fatalf("archives %v, %v: want 5", archives, err)
	}
	for _, path := range archives {
		a, errA := os.ReadFile(path)
		b, errB := os.ReadFile(filepath.Join(second, filepath.Base(path)))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: two runs differ (%v, %v)", filepath.Base(path), errA, errB)
		}
	}
	t.Run("bills", func(t *testing.T) { bills(t, bin) })
	t.Run("run on a node", func(t *testing.T) { runAll(t, archives) })
}

// bills: what each image is made of, the same twice, names files and modules.
func bills(t *testing.T, bin string) {
	first, second := t.TempDir(), t.TempDir()
	for _, out := range []string{first, second} {
		if err := run(t.Context(), options{tag: "test", bin: bin, sbom: out, tree: "../.."}); err != nil {
			t.Fatal(err)
		}
	}
	for name, parts := range map[string][]string{
		"pilot": {"/usr/local/bin/pilot", "pkg:golang/google.golang.org/grpc@v", "pkg:golang/std@go"}, "ca": {"pkg:golang/github.com/smallstep/certificates@v"},
		"injector": {"pkg:golang/istio.io/api@v"}, "bookshop": {"/bin/bookshop"},
		"proxy": {"/usr/local/bin/agent", "/usr/local/bin/capture", "/usr/local/bin/envoy", "libc.so", "pkg:github/envoyproxy/envoy@v1."},
	} {
		a, errA := os.ReadFile(filepath.Join(first, name+".cdx.json"))
		b, errB := os.ReadFile(filepath.Join(second, name+".cdx.json"))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: two runs differ (%v, %v)", name, errA, errB)
		}
		for _, part := range parts {
			if !bytes.Contains(a, []byte(part)) {
				t.Errorf("%s: %s is not in it", name, part)
			}
		}
	}
}

// runAll starts a pod of each image, and sees what it prints.
func runAll(t *testing.T, archives []string) {
	c := cluster.New(t, cluster.Options{Images: archives})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var manifests strings.Builder
	programs := []struct{ name, image, command, want string }{
		{"pilot", "pilot:test", "[/usr/local/bin/pilot, --help]", "Usage"},
		{"ca", "ca:test", "[/usr/local/bin/ca, --help]", "Usage"},
		{"injector", "injector:test", "[/usr/local/bin/injector, --help]", "Usage"},
		{"agent", "proxy:test", "[/usr/local/bin/agent, --help]", "Usage"},
		{"envoy", "proxy:test", "[/usr/local/bin/envoy, --version]", "/1.40.0/"},
		{"bookshop", "bookshop:test", "[/bin/bookshop, --help]", "Usage"},
		// As the samples' YAML says it.
		{"sample", "bookshop:dev", "[../../bin/bookshop, --help]", "Usage"},
	}
	for _, p := range programs {
		manifests.WriteString(strings.NewReplacer("NAME", p.name, "IMAGE", p.image, "COMMAND", p.command).Replace(pod))
	}
	if err := c.Apply(ctx, serviceAccount+manifests.String()); err != nil {
		t.Fatal(err)
	}
	client, err := c.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		tick := time.NewTicker(100 * time.Millisecond)
		var last corev1.PodStatus
		for last.Phase != corev1.PodSucceeded {
			select {
			case <-ctx.Done():
				t.Fatalf("pod %s: %+v", p.name, last)
			case <-tick.C:
			}
			if got, err := client.CoreV1().Pods("default").Get(ctx, p.name, metav1.GetOptions{}); err == nil {
				last = got.Status
			}
			if last.Phase == corev1.PodFailed {
				t.Fatalf("pod %s: %+v", p.name, last)
			}
		}
		tick.Stop()
		out, err := client.CoreV1().Pods("default").GetLogs(p.name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil || !strings.Contains(string(out), p.want) {
			t.Errorf("%s printed %q (%v): want %q in it", p.name, out, err, p.want)
		}
	}
}

// serviceAccount is there before the controller makes it, for pods that come at
// once.
const serviceAccount = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
`

const pod = `
---
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: NAME
    image: localhost/weft/IMAGE
    command: COMMAND
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`
