package injection

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/install"
	"github.com/weftmesh/weft/test/cluster"
)

// patience ends a wait that hangs; no test waits for it when all is well.
const patience = 2 * time.Minute

// mesh is a cluster of two nodes with Weft installed as a user would.
type mesh struct {
	*testing.T
	cluster *cluster.Cluster
	client  *kubernetes.Clientset
	kubectl string
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	cluster.Require(t)
	c := cluster.New(t, cluster.Options{Nodes: 2, Images: images(t)})
	client, err := c.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{T: t, cluster: c, client: client, kubectl: cluster.Kubectl(t)}
	m.install()
	return m
}

// images builds those of this tree, tagged "test".
func images(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	bin, out := filepath.Join(dir, "bin")+"/", filepath.Join(dir, "images")
	command(t, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin,
		"./cmd/agent", "./cmd/capture", "./cmd/pilot", "./cmd/ca", "./cmd/injector", "./samples/bookshop/cmd/bookshop")
	command(t, "go", "run", "./install/images", "--bin", bin, "--out", out, "--tag", "test")
	archives, err := filepath.Glob(out + "/*.tar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no images", err)
	}
	return archives
}

func command(t *testing.T, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

func (m *mesh) install() {
	m.Helper()
	values, err := install.Inputs{Sets: []string{
		"tag=test", "pilot.replicas=1", "ca.replicas=1", "injector.replicas=1", "gateways.ingress.enabled=false"}}.Values()
	if err != nil {
		m.Fatal(err)
	}
	manifest, err := install.Render(install.Release{Version: "test", Values: values})
	if err != nil {
		m.Fatal(err)
	}
	to, err := install.NewCluster(m.cluster.RESTConfig())
	if err == nil {
		_, err = to.Install(m.Context(), manifest, install.Options{Wait: patience, Say: m.Logf})
	}
	if err != nil {
		m.Fatal(err)
	}
}

// run calls kubectl; input is what it reads.
func (m *mesh) run(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(m.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.kubectl, append([]string{"--kubeconfig", m.cluster.Kubeconfig()}, args...)...)
	var out, failed bytes.Buffer
	// kubectl takes what begins with a brace for JSON.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("---\n"+input), &out, &failed
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), failed.String())
	}
	return out.String(), nil
}

func (m *mesh) must(input string, args ...string) string {
	m.Helper()
	out, err := m.run(input, args...)
	if err != nil {
		m.Fatal(err)
	}
	return out
}

// get sends a request from a pod of a deployment in namespace shop.
func (m *mesh) get(from, url string) (string, error) {
	return m.run("", "-n", "shop", "exec", "deploy/"+from, "-c", from, "--", "/bin/bookshop", "get", url)
}

// ready waits for deployments of namespace shop; at the deadline it says what
// their pods wait for.
func (m *mesh) ready(names ...string) {
	m.Helper()
	for _, name := range names {
		ctx, cancel := context.WithTimeout(m.Context(), patience)
		err := m.cluster.Available(ctx, "shop", name)
		cancel()
		if err != nil {
			pods, _ := m.run("", "-n", "shop", "describe", "pods", "-l", "app="+name)
			logs, _ := m.run("", "-n", "shop", "logs", "deploy/"+name, "-c", "istio-proxy", "--tail=30")
			m.Fatalf("%v\n%s\n%s", err, pods, logs)
		}
	}
}

// eventually waits for check to give no error.
func (m *mesh) eventually(what string, check func() error) {
	m.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			m.Fatalf("not in %v: %s: %v", patience, what, err)
		}
	}
}
