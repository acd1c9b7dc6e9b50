package steady

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/install"
	"github.com/weftmesh/weft/internal/image"
	"github.com/weftmesh/weft/test/cluster"
)

// Patience ends a wait that hangs; no test waits for it when all is well.
const Patience = 2 * time.Minute

// version is that of the binaries and images of a test.
const version = "test"

// Bench is a cluster of two nodes with Weft as a default install makes it.
type Bench struct {
	*testing.T
	*cluster.Cluster
	API     *kubernetes.Clientset
	App     string // path of the program in folder app
	weft    string
	kubectl string
	loads   *atomic.Int64 // started so far
}

// NewBench brings the cluster up and installs Weft, with the default values but
// for sets.
func NewBench(t *testing.T, sets ...string) *Bench {
	t.Helper()
	cluster.Require(t)
	bin, archives := cluster.Images(t, version, "./test/e2e/steady/app")
	b := &Bench{T: t, App: filepath.Join(bin, "app"), weft: filepath.Join(bin, "weft"), kubectl: cluster.Kubectl(t), loads: &atomic.Int64{}}
	archive := filepath.Join(t.TempDir(), "app.tar")
	app := image.Image{
		Names: []string{"localhost/weft-test/app:1"}, Files: map[string]string{"/app": b.App},
		Entrypoint: []string{"/app"}, Command: []string{"serve"}, User: "65532:65532",
	}
	if err := app.Write(archive); err != nil {
		t.Fatal(err)
	}
	b.Cluster = cluster.New(t, cluster.Options{Nodes: 2, Images: append(archives, archive)})
	var err error
	if b.API, err = b.Clientset(); err != nil {
		t.Fatal(err)
	}
	b.install(sets)
	return b
}

// On is the same bench in a subtest.
func (b *Bench) On(t *testing.T) *Bench {
	n := *b
	n.T = t
	return &n
}

func (b *Bench) install(sets []string) {
	b.Helper()
	values, err := install.Inputs{Sets: append([]string{"tag=" + version}, sets...)}.Values()
	if err != nil {
		b.Fatal(err)
	}
	manifest, err := install.Render(install.Release{Version: version, Values: values})
	if err != nil {
		b.Fatal(err)
	}
	to, err := install.NewCluster(b.RESTConfig())
	if err == nil {
		_, err = to.Install(b.Context(), manifest, install.Options{Wait: Patience, Say: b.Logf})
	}
	if err != nil {
		b.Fatal(err)
	}
}

// Run calls kubectl; input is what it reads.
func (b *Bench) Run(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.Context(), Patience)
	defer cancel()
	return b.Ask(ctx, b.kubectl, input, args...)
}

// Must is Run of what must succeed.
func (b *Bench) Must(input string, args ...string) string {
	b.Helper()
	out, err := b.Run(input, args...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// Weft calls the weft program; the exit code of one that could run is no error.
func (b *Bench) Weft(args ...string) (code int, out string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.weft, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.Kubeconfig(), "WEFT_MESH=")
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	if cmd.ProcessState == nil {
		b.Fatalf("weft: %v", err)
	}
	return cmd.ProcessState.ExitCode(), text.String()
}

// Eventually waits for check to give no error.
func (b *Bench) Eventually(what string, check func() error) {
	b.Helper()
	cluster.Eventually(b.T, Patience, what, check)
}

// Ready waits for Deployments, each NAMESPACE/NAME.
func (b *Bench) Ready(names ...string) {
	b.Helper()
	for _, name := range names {
		namespace, deployment, _ := strings.Cut(name, "/")
		ctx, cancel := context.WithTimeout(b.Context(), Patience)
		err := b.Available(ctx, namespace, deployment)
		cancel()
		if err != nil {
			b.Fatal(err)
		}
	}
}

// InSync waits until every proxy holds what the pilots sent, as weft
// proxy-status says, which must list those of all names.
func (b *Bench) InSync(names ...string) {
	b.Helper()
	b.Eventually("all proxies are in sync", func() error {
		code, out := b.Weft("proxy-status")
		if code != 0 || strings.Contains(out, "STALE") || strings.Contains(out, "NOT SENT") || strings.Contains(out, "REFUSED") {
			return errors.New(out)
		}
		for _, name := range names {
			if !strings.Contains(out, name) {
				return errors.New(name + " is not listed:\n" + out)
			}
		}
		return nil
	})
}

// NodePort is that of a port of the ingress gateway's Service.
func (b *Bench) NodePort(name string) string {
	b.Helper()
	return b.Must("", "get", "service", "-n", "weft-system", "istio-ingressgateway", "-o", `jsonpath={.spec.ports[?(@.name=="`+name+`")].nodePort}`)
}

// KubectlPath is for commands that run on while the test does other things.
func (b *Bench) KubectlPath() string { return b.kubectl }
