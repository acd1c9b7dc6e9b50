package pilot

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/weftmesh/weft/internal/source/kube"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/pilot/internal/jwks"
	"github.com/weftmesh/weft/pilot/internal/status"
	"github.com/weftmesh/weft/pilot/internal/webhook"
	"github.com/weftmesh/weft/pilot/internal/xds"
	"github.com/weftmesh/weft/test/listed"
)

func TestMetricsAreListed(t *testing.T) {
	o := Options{Version: "1.0.0"}.withDefaults()
	p := &pilot{Options: o, xds: xds.NewServer(xds.Options{Metrics: o.Metrics})}
	p.engine = newEngine(p.xds, o.Log, o.Metrics)
	p.monitoring(refusals(o.Metrics))
	jwks.New(memory.New(), jwks.Options{Metrics: o.Metrics})
	webhook.NewHandler(nil, o.Metrics, o.Log)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "none",
"contexts": [{"name": "none", "context": {"cluster": "none"}}], "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody, err := kube.ClientConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	over, end := context.WithCancel(t.Context())
	end()
	if err := status.Run(over, status.Options{Config: nobody, Metrics: o.Metrics, Log: o.Log, Namespace: "n", Lease: "l", Replica: "r"}); err != nil {
		t.Log(err) // it has registered, and was to end
	}
	listed.Metrics(t, "pilot", o.Metrics, flag.Lookup("update").Value.String() == "true")
}
