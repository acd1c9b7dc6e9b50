package pilot_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/test/envoy"
)

// agedConfig is a gRPC service whose connections live for a second; nothing is
// tried again.
const agedConfig = `
apiVersion: v1
kind: Service
metadata: {name: stars, namespace: default, annotations: {weft.mesh/max-connection-age: 1s}}
spec: {clusterIP: 10.96.0.10, selector: {app: stars}, ports: [{name: grpc, port: 9080, targetPort: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: stars-1, namespace: default, labels: {kubernetes.io/service-name: stars}}
addressType: IPv4
ports: [{name: grpc, port: 9080}]
endpoints: [{addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: stars, namespace: default}}]
---
apiVersion: v1
kind: Pod
metadata: {name: stars, namespace: default, labels: {app: stars, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: stars, containers: [{name: app, ports: [{containerPort: 9080}]}]}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: stars}
spec: {hosts: [stars], http: [{retries: {attempts: 0}, route: [{destination: {host: stars}}]}]}
`

// pair is a gRPC server behind its sidecar, and a client's sidecar before it.
type pair struct {
	health *health.Server
	client *envoy.Proxy
	conn   *grpc.ClientConn
}

// pairNetwork is a loopback network of this process.
var pairNetwork = fmt.Sprintf("127.%d.%d.", 100+os.Getpid()/250%100, os.Getpid()%250)

func startPair(t *testing.T) *pair {
	t.Helper()
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, server := &pair{health: health.NewServer()}, grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, p.health)
	go func() { _ = server.Serve(app) }()
	t.Cleanup(server.Stop)
	appPort := uint32(app.Addr().(*net.TCPAddr).Port)
	keys, err := envoy.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	inbound := aged(t, model.Proxy{Sidecar: true, Namespace: "default", Proven: true, Name: "stars", ServiceAccount: "stars", Labels: map[string]string{"app": "stars"}}, serverAt(appPort))
	outbound := aged(t, model.Proxy{Sidecar: true, Namespace: "default", Proven: true}, clientAt)
	runPlaced(t, envoy.Options{Resources: inbound, Keys: keys, Identity: "spiffe://cluster.local/ns/default/sa/stars"})
	p.client = runPlaced(t, envoy.Options{Resources: outbound, Keys: keys})
	p.conn, err = grpc.NewClient(pairNetwork+"2:9080", grpc.WithAuthority("stars:9080"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.conn.Close() })
	return p
}

// aged are a proxy's resources with agedConfig, each changed.
func aged(t *testing.T, p model.Proxy, change func(proto.Message) proto.Message) []*discovery.Resource {
	t.Helper()
	objects, found := config.Decode("config.yaml", []byte(agedConfig))
	if len(found) > 0 {
		t.Fatal(found)
	}
	set := config.Set{}
	for _, o := range objects {
		set = set.With(o)
	}
	all, err := envoy.Place(resources(set, p), change)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// serverAt leaves a sidecar its way in, and the app at a port.
func serverAt(app uint32) func(proto.Message) proto.Message {
	return func(m proto.Message) proto.Message {
		switch m := m.(type) {
		case *listener.Listener:
			if m.GetName() != "virtualInbound" {
				return nil
			}
			envoy.Bind(m, pairNetwork+"1", 9080)
		case *cluster.Cluster:
			if strings.HasPrefix(m.GetName(), "outbound|") {
				return nil
			}
			if m.GetName() == "inbound|9080||" {
				envoy.AtApp(m, "127.0.0.1", app)
			}
		default:
			return nil
		}
		return m
	}
}

// clientAt leaves a sidecar its way out.
func clientAt(m proto.Message) proto.Message {
	switch m := m.(type) {
	case *listener.Listener:
		if m.GetName() != "0.0.0.0_9080" {
			return nil
		}
		envoy.Bind(m, pairNetwork+"2", 9080)
	case *endpoint.ClusterLoadAssignment:
		for _, l := range m.GetEndpoints() {
			for _, e := range l.GetLbEndpoints() {
				e.GetEndpoint().Address = envoy.Socket(pairNetwork+"1", 9080)
			}
		}
	}
	return m
}

func runPlaced(t *testing.T, opts envoy.Options) *envoy.Proxy {
	t.Helper()
	var err error
	if opts.Binary, err = envoybin.Ensure(t.Context(), func(s string) { t.Log(s) }); err != nil {
		t.Fatal(err)
	}
	opts.Placed = true
	p, err := envoy.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// connections counts those of the client's sidecar to the server's.
func (p *pair) connections(t *testing.T, what string) uint64 {
	t.Helper()
	n, err := p.client.ClusterConnections(t.Context(), "outbound|9080||stars.default.svc.cluster.local", what)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestConnectionAge: a real gRPC client calls through two sidecars, and follows
// a stream, while the connection between the sidecars is renewed again and
// again. No call fails. A stream stays at its connection, however old, which is
// closed when the stream has ended.
// Source: envoy.config.core.v3.HttpProtocolOptions.max_connection_duration.
func TestConnectionAge(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	client := grpc_health_v1.NewHealthClient(p.conn)
	following, leave := context.WithCancel(t.Context())
	defer leave()
	stream, err := client.Watch(following, &grpc_health_v1.HealthCheckRequest{Service: "stars"}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	next := func() grpc_health_v1.HealthCheckResponse_ServingStatus {
		got, err := stream.Recv()
		if err != nil {
			t.Fatalf("the stream ended after %d connections: %v", p.connections(t, "total"), err)
		}
		return got.GetStatus()
	}
	next() // it is not known
	calls, stop := callOn(t, client)
	// The server's sidecar says that it will go at a second, and goes 5 s later:
	// when there have been eight the stream's was the first to be told both.
	eventually(t, "connections to be renewed", func() bool { return p.connections(t, "total") >= 8 })
	p.health.SetServingStatus("stars", grpc_health_v1.HealthCheckResponse_SERVING)
	if got := next(); got != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("the stream says %v", got)
	}
	stop()
	if open := p.connections(t, "active"); open < 2 {
		t.Errorf("%d connections are open, the stream's should be beside the last", open)
	}
	leave()
	eventually(t, "the stream's connection to be closed", func() bool { return p.connections(t, "active") <= 1 })
	t.Logf("%d calls over %d connections, of which %d were told to go", calls.Load(), p.connections(t, "total"), p.connections(t, "close_notify"))
}

// callOn makes calls until stop, each of which must succeed.
func callOn(t *testing.T, client grpc_health_v1.HealthClient) (calls *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	calls = &atomic.Int64{}
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
					t.Errorf("call %d: %v", calls.Load(), err)
					return
				}
				calls.Add(1)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return calls, func() { cancel(); done.Wait() }
}
