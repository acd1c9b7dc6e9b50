package local

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/traces"
)

// collecting is a collector of traces in the mesh, and the mesh's choice of it.
const collecting = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: weft-system}
data:
  mesh: |
    extensionProviders: [{name: otel, opentelemetry: {service: collector.watch.svc.cluster.local, port: 4317}}]
    defaultProviders: {tracing: [otel]}
    defaultConfig: {tracing: {sampling: 100}}
---
apiVersion: v1
kind: Service
metadata: {name: collector, namespace: watch}
spec: {selector: {app: collector}, ports: [{name: grpc, port: 4317}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: watch}
spec: {mtls: {mode: STRICT}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: collector, namespace: watch}
spec:
  selector: {matchLabels: {app: collector}}
  template:
    metadata: {labels: {app: collector}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: collector
        command: [COLLECTOR]
        readinessProbe: {httpGet: {path: /spans, port: 4317}, periodSeconds: 1}
`

// TestTracesJoin: the spans of gateway, client and servers are one trace, each
// the child of the one before it on the way, sent by mutual TLS.
func TestTracesJoin(t *testing.T) {
	dir, program := folder(t), filepath.Join(t.TempDir(), "collector")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../traces/collector").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	save(t, filepath.Join(dir, "collector.yaml"), strings.ReplaceAll(collecting, "COLLECTOR", program))
	m := up(t, dir)
	if status, _, body := m.get(t, "/"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	pods, err := m.PodsOf(t.Context(), "collector")
	if err != nil || len(pods) != 1 {
		t.Fatal(pods, err)
	}
	eventually(t, time.Minute, "the trace is whole", func() error {
		page, err := m.Exec(t.Context(), "watch/"+pods[0].Name, "curl", "-s", "127.0.0.1:4317/spans")
		if err != nil {
			return err
		}
		var all []traces.Span
		if err := json.Unmarshal(page, &all); err != nil {
			return err
		}
		return whole(all)
	})
}

// whole: the gateway's span is the first of a trace, which has one of front as
// a server, two as a client, and two of details.
func whole(all []traces.Span) error {
	ids, first := map[string]traces.Span{}, ""
	for _, s := range all {
		ids[s.ID] = s
		if s.Service == "istio-ingressgateway.weft-system" {
			first = s.Trace
		}
	}
	got := map[string]int{}
	for _, s := range all {
		if s.Trace == first {
			got[ids[s.Parent].Service+" > "+s.Service]++
		}
	}
	const gateway, front, details = "istio-ingressgateway.weft-system", "front.default", "details.default"
	want := map[string]int{" > " + gateway: 1, gateway + " > " + front: 1, front + " > " + front: 2, front + " > " + details: 2}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("the spans are %v, want %v", got, want)
	}
	return nil
}
