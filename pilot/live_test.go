package pilot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/source/file"
	"github.com/weftmesh/weft/pilot"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// live is a pilot that serves a folder to one gateway Envoy with two backends.
type live struct {
	t    *testing.T
	dir  string
	port int // of the gateway
	// adminPort is Envoy's.
	adminPort int
	addrs     pilot.Addresses
	stopPilot func()
}

const liveMesh = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  clusterIP: 10.96.0.10
  selector: {app: reviews}
  ports: [{name: http, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: %d, name: http, protocol: HTTP}
    hosts: ["*"]
`

const liveBackend = `
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-%[1]s, labels: {app: reviews, version: %[1]s}}
spec: {containers: [{name: app}]}
status: {phase: Running, podIP: 127.0.0.1, podIPs: [{ip: 127.0.0.1}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-%[1]s, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: %[2]s, protocol: TCP}]
endpoints:
- addresses: [127.0.0.1]
  conditions: {ready: true}
  targetRef: {kind: Pod, name: reviews-%[1]s, namespace: default}
`

const liveRoute = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: ["*"]
  gateways: [door]
  http:
  - route:
    - {destination: {host: reviews, subset: v1}, weight: %d}
    - {destination: {host: reviews, subset: v2}, weight: %d}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`

func TestWeightEditedUnderTraffic(t *testing.T) {
	l := startLive(t)
	l.write("route.yaml", fmt.Sprintf(liveRoute, 100, 0))
	l.startEnvoy()
	eventually(t, "the first answer of v1", func() bool { body, err := l.get(); return err == nil && body == "v1" })

	stop, failed := l.traffic()
	l.write("route.yaml", fmt.Sprintf(liveRoute, 0, 100))
	start := time.Now()
	eventually(t, "answers of v2 only", func() bool {
		for range 5 {
			if body, err := l.get(); err != nil || body != "v2" {
				return false
			}
		}
		return true
	})
	if took := time.Since(start); took > time.Second {
		t.Errorf("the new weight was live after %v, want under 1s", took)
	} else {
		t.Logf("the new weight was live after %v", took)
	}
	stop()
	for _, text := range failed() {
		t.Errorf("a request failed: %s", text)
	}
}

// liveSubset is a subset and the route to it, to be replaced in one edit.
const liveSubset = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews-%[1]s}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {http: {maxRetries: %[3]d}}}
  subsets: [{name: %[1]s, labels: {version: %[2]s}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: ["*"]
  gateways: [door]
  http: [{route: [{destination: {host: reviews, subset: %[1]s}}]}]
`

func TestSubsetReplacedUnderTraffic(t *testing.T) {
	l := startLive(t)
	l.write("route.yaml", fmt.Sprintf(liveSubset, "blue", "v1", 7))
	l.startEnvoy()
	eventually(t, "the first answer of v1", func() bool { body, err := l.get(); return err == nil && body == "v1" })
	stop, failed := l.traffic()
	// The cluster of the old subset leaves and that of the new one comes in the
	// same edit as the route between them.
	for i := range 6 {
		colour, version := [...]string{"green", "blue"}[i%2], [...]string{"v2", "v1"}[i%2]
		l.write("route.yaml", fmt.Sprintf(liveSubset, colour, version, 7))
		eventually(t, "answers of "+version, func() bool { body, err := l.get(); return err == nil && body == version })
	}
	stop()
	for _, text := range failed() {
		t.Errorf("a request failed: %s", text)
	}
}

func TestClusterEditedUnderTraffic(t *testing.T) {
	l := startLive(t)
	l.write("route.yaml", fmt.Sprintf(liveSubset, "blue", "v1", 7))
	l.startEnvoy()
	eventually(t, "the first answer of v1", func() bool { body, err := l.get(); return err == nil && body == "v1" })
	stop, failed := l.traffic()
	l.write("route.yaml", fmt.Sprintf(liveSubset, "blue", "v1", 9))
	start := time.Now()
	// Envoy builds an edited cluster anew, and the old one serves until the new
	// one has its endpoints.
	eventually(t, "the edited cluster in force", func() bool {
		text := l.admin("/clusters")
		return strings.Contains(text, "outbound|80|blue|reviews.default.svc.cluster.local::default_priority::max_retries::9")
	})
	if took := time.Since(start); took > time.Second {
		t.Errorf("the edited cluster was in force after %v, want under 1s", took)
	}
	stop()
	for _, text := range failed() {
		t.Errorf("a request failed: %s", text)
	}
}

func TestPilotRestartUnderTraffic(t *testing.T) {
	l := startLive(t)
	l.write("route.yaml", fmt.Sprintf(liveRoute, 100, 0))
	l.startEnvoy()
	eventually(t, "the first answer of v1", func() bool { body, err := l.get(); return err == nil && body == "v1" })
	stop, failed := l.traffic()
	l.stopPilot()
	l.write("route.yaml", fmt.Sprintf(liveRoute, 0, 100)) // nobody sees it yet
	for range 50 {
		if body, err := l.get(); err != nil || body != "v1" {
			t.Fatalf("without a pilot Envoy answered %q, %v", body, err)
		}
	}
	l.startPilot(l.addrs.InsecureXDS)
	start := time.Now()
	eventually(t, "an answer of v2", func() bool { body, err := l.get(); return err == nil && body == "v2" })
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("in sync %v after the restart, want under 5s", took)
	} else {
		t.Logf("in sync %v after the restart", took)
	}
	stop()
	for _, text := range failed() {
		t.Errorf("a request failed: %s", text)
	}
}

// admin reads a page of Envoy's admin interface.
func (l *live) admin(path string) string {
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", l.adminPort, path))
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return string(text)
}

func startLive(t *testing.T) *live {
	l := &live{t: t, dir: t.TempDir(), port: freePort(t), adminPort: freePort(t)}
	text := fmt.Sprintf(liveMesh, l.port)
	for _, version := range []string{"v1", "v2"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, version) }))
		t.Cleanup(srv.Close)
		_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
		text += fmt.Sprintf(liveBackend, version, port)
	}
	l.write("mesh.yaml", text)
	l.startPilot("127.0.0.1:0")
	return l
}

// startPilot runs a pilot on the folder until the test ends or stopPilot is
// called.
func (l *live) startPilot(address string) {
	t := l.t
	// No agent is beside this Envoy that would give it certificates.
	settings, found := config.DecodeMeshConfig("mesh-config", []byte("enableAutoMtls: false"))
	if len(found) > 0 {
		t.Fatal(found)
	}
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan pilot.Addresses, 1), make(chan error, 1)
	log := slog.New(slog.NewTextHandler(testWriter{t}, nil))
	go func() {
		ended <- pilot.Run(ctx, pilot.Options{
			Source: file.New(log, []string{l.dir}, settings), InsecureXDS: address, Monitoring: "127.0.0.1:0", Log: log,
			Keys:    pilot.KeyFetch{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Refresh: 100 * time.Millisecond},
			Started: func(a pilot.Addresses) { started <- a },
		})
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the pilot ended with %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case l.addrs = <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	l.stopPilot = stop
}

// testWriter sends log lines to the test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (l *live) write(name, text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().(*net.TCPAddr).Port
}

const liveBootstrap = `
node:
  id: router~127.0.0.1~door-0.default~default.svc.cluster.local
  cluster: door
  metadata: {NAMESPACE: default, CLUSTER_ID: Kubernetes, INSTANCE_IPS: 127.0.0.1, LABELS: {istio: ingressgateway}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  cds_config: {ads: {}, resource_api_version: V3}
  lds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 1s
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]
  - name: sds-grpc
    connect_timeout: 1s
    type: STATIC
`

// startEnvoy runs a gateway's Envoy until the test ends.
func (l *live) startEnvoy() {
	l.t.Helper()
	binary, err := envoybin.Ensure(context.Background(), func(line string) { l.t.Log(line) })
	if err != nil {
		l.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.addrs.InsecureXDS)
	path := filepath.Join(l.t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, liveBootstrap, l.adminPort, port), 0o644); err != nil {
		l.t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(l.t.TempDir(), "envoy.log"))
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(binary, "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, _ := os.ReadFile(out.Name()); l.t.Failed() {
			l.t.Logf("Envoy said:\n%s", text)
		}
	})
}

var client = &http.Client{Timeout: 5 * time.Second}

func (l *live) get() (string, error) {
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", l.port))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// traffic sends requests one after another until stop is called.
func (l *live) traffic() (stop func(), failed func() []string) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	var errs []string
	done.Go(func() {
		for ctx.Err() == nil {
			if _, err := l.get(); err != nil {
				errs = append(errs, err.Error())
			}
		}
	})
	return func() { cancel(); done.Wait() }, func() []string { return errs }
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

func within(t *testing.T, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", patience, what)
		case <-tick.C:
		}
	}
}
