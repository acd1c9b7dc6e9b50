package pilot_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/golden"
)

// TestEverySupportedFieldHasACase holds the support ledger to its word: a field
// that it calls supported names the cases in which its behaviour is called for,
// and these exist and set it.
func TestEverySupportedFieldHasACase(t *testing.T) {
	ledger, err := apis.Support()
	if err != nil {
		t.Fatal(err)
	}
	cases := fieldsOfCases(t)
	for _, f := range supportedFields(t, ledger) {
		message, name := string(f.Parent().FullName()), f.JSONName()
		named := ledger.Field(message, name).Cases
		if len(named) == 0 {
			t.Errorf("apis/support.yaml: %s.%s names no case: write one in pilot/testdata, and the row as \"supported, see CASE\"", message, name)
		}
		for _, c := range named {
			if set, ok := cases[c]; !ok {
				t.Errorf("apis/support.yaml: %s.%s names %q: there is no pilot/testdata/%s.txtar", message, name, c, c)
			} else if !set[f.FullName()] {
				t.Errorf("apis/support.yaml: %s.%s names %q, which does not set the field", message, name, c)
			}
		}
	}
}

// TestEverySupportedFieldIsCalledFor takes each supported field out of the
// cases that its row names: the calls of one of them at least must notice. They
// are made in the simulator here; TestGolden holds it to Envoy.
func TestEverySupportedFieldIsCalledFor(t *testing.T) {
	ledger, err := apis.Support()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range supportedFields(t, ledger) {
		cases := ledger.Field(string(f.Parent().FullName()), f.JSONName()).Cases
		noticed := slices.ContainsFunc(cases, func(c string) bool {
			return len(without(t, c, f.FullName())) > 0 || ofCollectors(c) && changes(t, c, f.FullName())
		})
		if own := heldElsewhere[f.FullName()]; !noticed && own == "" {
			t.Errorf("%s: no call of %v depends on it: add one that does", f.FullName(), cases)
		} else if noticed && own != "" {
			t.Errorf("%s: calls of %v depend on it, it needs no %s", f.FullName(), cases, own)
		}
	}
}

// heldElsewhere are fields whose effect takes time or more than one
// configuration, and the tests that show it on a real Envoy.
var heldElsewhere = map[protoreflect.FullName]string{
	"istio.networking.v1alpha3.WorkloadEntry.locality":                                                 "TestWorkloadEntryStands",
	"istio.networking.v1alpha3.WorkloadEntry.weight":                                                   "TestWorkloadEntryStands",
	"istio.mesh.v1alpha1.MeshConfig.access_log_file":                                                   "TestAccessLogFile",
	"istio.mesh.v1alpha1.MeshConfig.access_log_encoding":                                               "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.access_log_format":                                                 "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.DefaultProviders.access_logging":                                   "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.envoy_file_access_log":                           "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyFileAccessLogProvider.log_format":           "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyFileAccessLogProvider.omit_empty_values":    "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyFileAccessLogProvider.path":                 "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyFileAccessLogProvider.LogFormat.labels":     "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyFileAccessLogProvider.LogFormat.text":       "TestAccessLogs",
	"istio.mesh.v1alpha1.MeshConfig.default_providers":                                                 "TestGolden/telemetry-default-metrics",
	"istio.mesh.v1alpha1.MeshConfig.DefaultProviders.metrics":                                          "TestGolden/telemetry-default-metrics",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.prometheus":                                      "TestGolden/telemetry-default-metrics",
	"istio.mesh.v1alpha1.MeshConfig.dns_refresh_rate":                                                  "TestGolden/mesh-dns-refresh",
	"istio.mesh.v1alpha1.MeshConfig.protocol_detection_timeout":                                        "TestGolden/mesh-detection, and in time TestProtocols of test/local",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.listener_per_connection_buffer_limit_bytes":    "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.cluster_per_connection_buffer_limit_bytes":     "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http_idle_timeout":                             "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http_max_connection_duration":                  "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http_drain_timeout":                            "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http_request_timeout":                          "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http_request_headers_timeout":                  "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http_stream_idle_timeout":                      "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http_max_stream_duration":                      "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http_max_concurrent_streams":                   "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http2_initial_stream_window_size":              "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.ProxyConfig.ConnectionSettings.http2_initial_connection_window_size":          "TestGolden/connection-settings",
	"istio.mesh.v1alpha1.Topology.proxy_protocol":                                                      "TestGolden/gateway-proxy-protocol, and through a balancer TestReach of test/e2e/reach",
	"istio.networking.v1alpha3.HTTPRetry.retry_remote_localities":                                      "TestRetriesGoToOtherLocalities",
	"istio.networking.v1alpha3.LoadBalancerSettings.warmup":                                            "TestWarmup",
	"istio.networking.v1alpha3.LoadBalancerSettings.warmup_duration_secs":                              "TestWarmup",
	"istio.networking.v1alpha3.TrafficPolicy.RetryBudget.budget_interval":                              "TestRetryBudgetInterval",
	"istio.networking.v1alpha3.WarmupConfiguration.duration":                                           "TestWarmup",
	"istio.networking.v1alpha3.WarmupConfiguration.minimum_percent":                                    "TestWarmup",
	"istio.networking.v1alpha3.WarmupConfiguration.aggression":                                         "TestWarmup",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.OpenTelemetryTracingProvider.resource_detectors": "TestTraces/OTLP: the environment is always read",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.ResourceDetectors.environment":                   "TestTraces/OTLP: the environment is always read",
}

// ofCollectors are cases of what no call's answer shows: TestTraces,
// TestLogsGoToACollector and TestLogsGoToAnAccessLogService make their calls on a real
// Envoy with a collector. Here each field must change what a proxy is sent.
func ofCollectors(name string) bool {
	return strings.HasPrefix(name, "telemetry-tracing") || name == "telemetry-otel-logs" || strings.HasPrefix(name, "telemetry-service-")
}

// changes reports whether a proxy of a case is sent something else without a
// field.
func changes(t *testing.T, name string, field protoreflect.FullName) bool {
	_, all := edited(t, name, "")
	_, less := edited(t, name, field)
	return !slices.EqualFunc(all, less, func(a, b *discovery.Resource) bool { return proto.Equal(a, b) })
}

// without makes the calls of a case, in the simulator, with a field taken out
// of its configuration; it returns what they notice.
func without(t *testing.T, name string, field protoreflect.FullName) []string {
	t.Helper()
	b, all := edited(t, name, field)
	p, listener := b.proxy(t)
	simulated, err := simulate.New(all)
	if err != nil {
		t.Fatal(err)
	}
	simulated.Stand(place(p))
	content, _ := b.Get("calls.yaml")
	calls, err := golden.Calls(content)
	if err != nil {
		t.Fatal(err)
	}
	lookup, err := golden.Lookup(all, p.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	return golden.Check(t.Context(), calls, golden.Resolver{Listener: listener, Address: lookup}, simulated, nil)
}

// edited is a case, and what its proxy is sent with a field taken out of its
// configuration.
func edited(t *testing.T, name string, field protoreflect.FullName) (behaviour, []*discovery.Resource) {
	t.Helper()
	f, err := golden.Load("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	b := behaviour{File: f}
	set, _ := b.set(t, "config.yaml")
	content, _ := b.Get("config.yaml")
	objects, _ := config.Decode("config.yaml", []byte(content))
	for _, o := range objects {
		if m, ok := o.Spec.(proto.Message); ok {
			edited, clone := *o, proto.Clone(m)
			takeOut(clone.ProtoReflect(), field)
			edited.Spec = clone
			set = set.With(&edited)
		}
	}
	p, _ := b.proxy(t)
	return b, resources(set, p)
}

// takeOut clears a field in m and all that it holds.
func takeOut(m protoreflect.Message, field protoreflect.FullName) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.FullName() == field:
			m.Clear(f)
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				takeOut(v.Message(), field)
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				takeOut(v.List().Get(i).Message(), field)
			}
		case !f.IsMap() && f.Message() != nil:
			takeOut(v.Message(), field)
		}
		return true
	})
}

// supportedFields are those of the kinds of this version, and of the messages
// that they lead to.
func supportedFields(t *testing.T, l *apis.Ledger) (out []protoreflect.FieldDescriptor) {
	t.Helper()
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || !strings.HasPrefix(string(m.FullName()), "istio.") {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if l.Field(string(m.FullName()), f.JSONName()).Status != apis.Supported {
				continue
			}
			out = append(out, f)
			if sub := messageOf(f); sub != nil {
				walk(sub)
			}
		}
	}
	for _, root := range []protoreflect.FullName{
		"istio.networking.v1alpha3.VirtualService", "istio.networking.v1alpha3.DestinationRule", "istio.networking.v1alpha3.Gateway",
		"istio.networking.v1alpha3.Sidecar",
		"istio.networking.v1alpha3.ServiceEntry",
		"istio.networking.v1alpha3.EnvoyFilter",
		"istio.security.v1beta1.PeerAuthentication", "istio.mesh.v1alpha1.MeshConfig",
	} {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(root)
		if err != nil {
			t.Fatal(err)
		}
		walk(d.(protoreflect.MessageDescriptor))
	}
	return out
}

func messageOf(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() {
		return f.MapValue().Message()
	}
	return f.Message()
}

// fieldsOfCases gives, for each case with calls, the fields that its
// config.yaml sets.
func fieldsOfCases(t *testing.T) map[string]map[protoreflect.FullName]bool {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[protoreflect.FullName]bool{}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parts := map[string][]byte{}
		for _, part := range txtar.Parse(content).Files {
			parts[part.Name] = part.Data
		}
		if len(parts["calls.yaml"]) == 0 {
			continue
		}
		set := map[protoreflect.FullName]bool{}
		objects, _ := config.Decode(path, parts["config.yaml"])
		for _, o := range objects {
			if m, ok := o.Spec.(proto.Message); ok {
				noteFields(m.ProtoReflect(), set)
			}
		}
		out[strings.TrimSuffix(filepath.Base(path), ".txtar")] = set
	}
	return out
}

func noteFields(m protoreflect.Message, set map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		set[f.FullName()] = true
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				noteFields(v.Message(), set)
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				noteFields(v.List().Get(i).Message(), set)
			}
		case !f.IsMap() && f.Message() != nil:
			noteFields(v.Message(), set)
		}
		return true
	})
}
