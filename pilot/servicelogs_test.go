package pilot_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// bytesService is of connections that are no HTTP.
const bytesService = `
apiVersion: v1
kind: Service
metadata: {name: bytes, namespace: default}
spec: {clusterIP: 10.96.7.9, ports: [{name: tcp, port: 7000}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: bytes-1, namespace: default, labels: {kubernetes.io/service-name: bytes}}
addressType: IPv4
ports: [{name: tcp, port: 7000}]
endpoints: [{addresses: [10.1.7.9], conditions: {ready: true}}]
---
`

// TestLogsGoToAnAccessLogService: which records a real Envoy sends to an access log
// service, of requests and of connections, by MeshConfig's providers, by Telemetries and
// by enableEnvoyAccessLogService.
// Sources: istio.io/api mesh/v1alpha1, EnvoyHttpGrpcV3LogProvider, EnvoyTcpGrpcV3LogProvider;
// Envoy, "Access log service".
func TestLogsGoToAnAccessLogService(t *testing.T) {
	const (
		at        = "{service: collector.watch.svc.cluster.local, port: 4317"
		http      = "extensionProviders: [{name: als, envoyHttpAls: " + at + ", additionalRequestHeadersToLog: [x-user], additionalResponseHeadersToLog: [content-type]}}]\n"
		tcp       = "extensionProviders: [{name: als, envoyTcpAls: " + at + ", logName: bytes}}]\n"
		byDefault = "defaultProviders: {accessLogging: [als]}\n"
		own       = "enableEnvoyAccessLogService: true\n"
		cluster   = "logs|4317|als|collector.watch.svc.cluster.local"
		connected = "TCP outbound|7000||bytes.default.svc.cluster.local"
	)
	request := envoy.Record{Cluster: cluster, LogName: "http_envoy_accesslog", Service: "test", Body: "GET /logged?a=b 200", Tags: map[string]string{"x-user": "ann", "response content-type": "text/plain; charset=utf-8"}}
	for name, c := range map[string]struct {
		mesh, telemetry string
		want            []envoy.Record // each once, in any order, and no other
	}{
		"requests":    {mesh: http + byDefault, want: []envoy.Record{request, {Body: "GET /end 200"}}},
		"connections": {mesh: tcp + byDefault, want: []envoy.Record{{Cluster: cluster, LogName: "bytes", Body: connected}}},
		"by name":     {mesh: http + "accessLogFile: /dev/null", telemetry: `accessLogging: [{providers: [{name: als}], filter: {expression: "request.path == '/end'"}}]`, want: []envoy.Record{{Body: "GET /end 200"}}},
		"bootstrap": {mesh: own, want: []envoy.Record{
			{Cluster: envoy.ServiceCluster, LogName: "http_envoy_accesslog", Body: "GET /logged?a=b 200"}, {Body: "GET /end 200"},
			{Cluster: envoy.ServiceCluster, LogName: "tcp_envoy_accesslog", Body: connected}}},
		"not bootstrap": {mesh: own + tcp + byDefault, want: []envoy.Record{{Cluster: cluster, Body: connected}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startOptions(t, envoy.Options{LogService: true, Resources: worldResources(t, bytesService+collectorService+telemetryOf(t, c.mesh, c.telemetry))})
			w.do(t, simulate.Call{Path: "/logged?a=b", Headers: simulate.Headers{"X-User": {"ann"}}})
			w.do(t, simulate.Call{Path: "/end"})
			if _, err := w.Do(t.Context(), simulate.Call{Listener: "virtualOutbound", Destination: netip.MustParseAddrPort("10.96.7.9:7000"), TCP: true}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "as many records as calls", func() bool { return len(w.Records()) >= len(c.want) })
			for _, want := range c.want {
				foundRecord(t, w.Records(), want)
			}
			if got := w.Records(); len(got) != len(c.want) {
				t.Errorf("records: %+v, want %d", got, len(c.want))
			}
		})
	}
}

// foundRecord: one is as wanted.
func foundRecord(t *testing.T, all []envoy.Record, want envoy.Record) {
	t.Helper()
	for _, got := range all {
		if got.Body != want.Body {
			continue
		}
		if want.Cluster != "" && got.Cluster != want.Cluster || want.LogName != "" && got.LogName != want.LogName || want.Service != "" && got.Service != want.Service {
			t.Errorf("%+v, want %+v", got, want)
		}
		for name, value := range want.Tags {
			if got.Tags[name] != value {
				t.Errorf("%s: %q, want %q of %v", name, got.Tags[name], value, got.Tags)
			}
		}
		return
	}
	t.Errorf("no record %q: %+v", want.Body, all)
}

// TestLogServiceThatHangs: one that takes nothing costs no request, and of the proxy's
// memory no more than Envoy's own buffers: the rest is thrown away.
func TestLogServiceThatHangs(t *testing.T) {
	t.Parallel()
	w := startWorld(t, collectorService+telemetryOf(t, "extensionProviders: [{name: hanging, envoyHttpAls: {service: collector.watch.svc.cluster.local, port: 4317, additionalRequestHeadersToLog: [x-large]}}]\ndefaultProviders: {accessLogging: [hanging]}\n", ""))
	large := simulate.Headers{"X-Large": {strings.Repeat("a", 40<<10)}}
	for range 200 { // 8 MB
		w.do(t, simulate.Call{Path: "/large", Headers: large})
	}
	eventually(t, "records are thrown away", func() bool {
		w.do(t, simulate.Call{Path: "/large", Headers: large})
		n, err := w.DroppedRecords(t.Context())
		return err == nil && n > 0
	})
}

// TestLogServiceThatIsNotThere: a proxy whose bootstrap has no such cluster starts,
// and its calls go on.
func TestLogServiceThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := startWorld(t, telemetryOf(t, "enableEnvoyAccessLogService: true", ""))
	w.do(t, simulate.Call{Path: "/a"})
	w.do(t, simulate.Call{Path: "/b"})
}
