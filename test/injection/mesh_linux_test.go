package injection

import (
	"context"
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
	_, archives := cluster.Images(t, "test")
	c := cluster.New(t, cluster.Options{Nodes: 2, Images: archives})
	client, err := c.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{T: t, cluster: c, client: client, kubectl: cluster.Kubectl(t)}
	m.install()
	return m
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
	return m.cluster.Ask(ctx, m.kubectl, input, args...)
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
	cluster.Eventually(m, patience, what, check)
}
