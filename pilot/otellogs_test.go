package pilot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// TestLogsGoToACollector: what records a real Envoy sends by OTLP, by MeshConfig's
// provider and default, and by a Telemetry.
// Sources: istio.io/api mesh/v1alpha1, EnvoyOpenTelemetryLogProvider; OTLP.
func TestLogsGoToACollector(t *testing.T) {
	const (
		at        = "{service: collector.watch.svc.cluster.local, port: 4317"
		plain     = "extensionProviders: [{name: otel, envoyOtelAls: " + at + "}}]\n"
		shaped    = "extensionProviders: [{name: otel, envoyOtelAls: " + at + `, logName: shop, logFormat: {text: "%PROTOCOL% %RESPONSE_CODE%", labels: {path: "%REQ_WITHOUT_QUERY(:PATH)%", team: {name: shop, number: 7}, fixed: true}}}}]` + "\n"
		byDefault = "defaultProviders: {accessLogging: [otel]}\n"
		cluster   = "logs|4317|otel|collector.watch.svc.cluster.local"
	)
	for name, c := range map[string]struct {
		mesh, telemetry string
		want            envoy.Record
		none            bool
	}{
		"default": {mesh: plain + byDefault, want: envoy.Record{Service: "caller.default", LogName: "otel_envoy_accesslog", Body: `"GET /logged?a=b HTTP/1.1" 200`}},
		"format":  {mesh: shaped + byDefault, want: envoy.Record{LogName: "shop", Body: "HTTP/1.1 200", Tags: map[string]string{"path": "/logged", "fixed": "true"}, Nested: map[string]map[string]string{"team": {"name": "shop", "number": "7"}}}},
		"by name": {mesh: plain, telemetry: "accessLogging: [{providers: [{name: otel}]}]", want: envoy.Record{Body: "/logged"}},
		"filter":  {mesh: plain + byDefault, telemetry: `accessLogging: [{filter: {expression: "request.path == '/end'"}}]`, want: envoy.Record{Body: "/end"}},
		"nowhere": {mesh: strings.Replace(plain, "collector.watch", "nobody.watch", 1) + byDefault, none: true},
		"nobody":  {mesh: plain, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWorld(t, collectorService+telemetryOf(t, c.mesh, c.telemetry))
			w.do(t, simulate.Call{Path: "/logged?a=b"})
			w.do(t, simulate.Call{Path: "/end"})
			if c.none {
				if dump, err := w.ConfigDump(t.Context()); err != nil || strings.Contains(dump, `"logs|4317`) {
					t.Errorf("records are sent: %v", err)
				}
				return
			}
			c.want.Cluster = cluster
			recorded(t, w, c.want)
		})
	}
}

// recorded waits until a collector has a record: the first must be as wanted.
func recorded(t *testing.T, w world, want envoy.Record) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); len(w.Records()) == 0; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("no record came within a minute")
		}
	}
	got := w.Records()[0]
	if got.Cluster != want.Cluster || want.LogName != "" && got.LogName != want.LogName || want.Service != "" && got.Service != want.Service || !strings.Contains(got.Body, want.Body) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for name, value := range want.Tags {
		if got.Tags[name] != value {
			t.Errorf("attribute %s: %q, want %q", name, got.Tags[name], value)
		}
	}
	for name, all := range want.Nested {
		for key, value := range all {
			if got.Nested[name][key] != value {
				t.Errorf("attribute %s.%s: %q, want %q of %v", name, key, got.Nested[name][key], value, got.Nested)
			}
		}
	}
}
