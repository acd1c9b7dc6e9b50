package injection

import (
	"context"
	"testing"

	"github.com/weftmesh/weft/test/e2e/rig"
)

// mesh is a cluster with a lean Weft without a gateway.
type mesh struct{ *rig.Rig }

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{rig.New(t)}
	m.Install("", append([]string{"gateways.ingress.enabled=false"}, rig.Lean...)...)
	return m
}

// get sends a request from a pod of a deployment in namespace shop.
func (m *mesh) get(from, url string) (string, error) {
	return m.Kubectl("", "-n", "shop", "exec", "deploy/"+from, "-c", from, "--", "/bin/bookshop", "get", url)
}

// ready waits for deployments of namespace shop; at the deadline it says what
// their pods wait for.
func (m *mesh) ready(names ...string) {
	m.Helper()
	for _, name := range names {
		ctx, cancel := context.WithTimeout(m.Context(), rig.Patience)
		err := m.Available(ctx, "shop", name)
		cancel()
		if err != nil {
			pods, _ := m.Kubectl("", "-n", "shop", "describe", "pods", "-l", "app="+name)
			logs, _ := m.Kubectl("", "-n", "shop", "logs", "deploy/"+name, "-c", "istio-proxy", "--tail=30")
			m.Fatalf("%v\n%s\n%s", err, pods, logs)
		}
	}
}
