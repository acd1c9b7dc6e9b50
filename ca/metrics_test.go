package ca

import (
	"flag"
	"testing"

	"github.com/weftmesh/weft/test/listed"
)

var update = flag.Bool("update", false, "rewrite this component's part of docs/metrics.md")

func TestMetricsAreListed(t *testing.T) {
	kubeconfig := newMesh(t).write("kubeconfig", []byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "none",
"contexts": [{"name": "none", "context": {"cluster": "none"}}], "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}]}`))
	a, err := newAuthority(Options{Kube: true, Kubeconfig: kubeconfig}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	listed.Metrics(t, "ca", a.reg, *update)
}
