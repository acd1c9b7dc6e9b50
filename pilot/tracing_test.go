package pilot_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// collectorService is a service for traces, gRPC at 4317 and HTTP at 4318.
const collectorService = `
apiVersion: v1
kind: Service
metadata: {name: collector, namespace: watch}
spec: {clusterIP: 10.96.7.2, selector: {app: collector}, ports: [{name: tcp-otlp, port: 4317}, {name: http, port: 4318}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: collector-1, namespace: watch, labels: {kubernetes.io/service-name: collector}}
addressType: IPv4
ports: [{name: tcp-otlp, port: 4317}, {name: http, port: 4318}]
endpoints: [{addresses: [10.1.7.2], conditions: {ready: true}}]
---
`

// TestTraces: which spans a real Envoy sends where, by MeshConfig's providers
// and defaults, and by Telemetries.//
// Sources: istio.io/api telemetry/v1alpha1, Tracing; mesh/v1alpha1,
// OpenTelemetryTracingProvider, ZipkinTracingProvider; W3C Trace Context; B3.
func TestTraces(t *testing.T) {
	const (
		at        = "service: collector.watch.svc.cluster.local, port: "
		otlp      = "extensionProviders: [{name: otel, opentelemetry: {" + at + "4317, grpc: {initialMetadata: [{name: x-key, value: k}]}}}]\n"
		http      = "extensionProviders: [{name: otel, opentelemetry: {" + at + "4318, maxTagLength: 9, http: {path: /v2/traces, timeout: 2s, headers: [{name: x-key, value: \"50%\"}]}}}]\n"
		zipkin    = "extensionProviders: [{name: otel, zipkin: {" + at + "4318, headers: [{name: x-key, value: k}], traceContextOption: USE_B3_WITH_W3C_PROPAGATION}}]\n"
		named     = "tracing: [{providers: [{name: otel}], randomSamplingPercentage: 100"
		which     = ", customTags: {which: {header: {name: x-which}}}"
		byDefault = "defaultProviders: {tracing: [otel]}\ndefaultConfig: {tracing: {sampling: 100"
	)
	parent := map[string][]string{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	// Envoys tell one another by the 13th digit of the request's ID whether it is
	// sampled. Source: Envoy, "x-request-id".
	sampled := map[string][]string{"Traceparent": parent["Traceparent"], "X-Request-Id": {"a8c2e1b4-0f3d-9c55-8e21-4d1f6f0b7a10"}}
	unsampled := map[string][]string{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}, "X-Which": {"first"}}
	for name, c := range map[string]struct {
		mesh, telemetry string
		headers         map[string][]string
		then            map[string][]string // those of a second call, the only one with a span
		want            envoy.Span          // what of it is not empty, of the first span
		seen            []string            // headers that the endpoint gets
		unseen          []string            // and does not get
		none            bool                // no span of any call
	}{
		"OTLP": {mesh: otlp, telemetry: named + "}]", seen: []string{"Traceparent"}, want: envoy.Span{
			Cluster: "trace|4317|otel|collector.watch.svc.cluster.local", Path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
			Name: "reviews.default.svc.cluster.local:9080/*", Service: "caller.default",
			Headers: map[string][]string{"X-Key": {"k"}},
			Tags:    map[string]string{"istio.namespace": "default", "istio.canonical_service": "caller", "http.method": "GET"},
		}},
		"HTTP": {mesh: http, telemetry: named + "}]", want: envoy.Span{
			Cluster: "trace|4318|otel|collector.watch.svc.cluster.local", Path: "/v2/traces", Headers: map[string][]string{"X-Key": {"50%"}},
			Tags: map[string]string{"http.url": "http://reviews:9080/traced/w"},
		}},
		"Zipkin": {mesh: zipkin, telemetry: named + "}]", seen: []string{"X-B3-Traceid", "X-B3-Sampled", "Traceparent"}, want: envoy.Span{
			Cluster: "trace|4318|otel|collector.watch.svc.cluster.local", Path: "/api/v2/spans", Name: "reviews.default.svc.cluster.local:9080/*", Headers: map[string][]string{"X-Key": {"k"}},
		}},
		"its parent's trace":      {mesh: otlp, telemetry: named + "}]", headers: parent, want: envoy.Span{Trace: "0af7651916cd43dd8448eb211c80319c", Parent: "b7ad6b7169203331"}},
		"sampled by those before": {mesh: otlp, telemetry: "tracing: [{providers: [{name: otel}], randomSamplingPercentage: 0}]", headers: sampled, want: envoy.Span{Trace: "0af7651916cd43dd8448eb211c80319c"}},
		"default provider":        {mesh: otlp + byDefault + "}}", want: envoy.Span{Name: "reviews.default.svc.cluster.local:9080/*"}},
		"tags": {mesh: otlp, telemetry: named + `, customTags: {text: {literal: {value: a}}, head: {header: {name: x-user, defaultValue: nobody}}, none: {header: {name: x-none, defaultValue: nobody}},
      env: {environment: {name: POD_NAME, defaultValue: unset}}, form: {formatter: {value: "%REQ(x-user)%/%PROTOCOL%"}}}}]`,
			headers: map[string][]string{"X-User": {"ann"}},
			want:    envoy.Span{Tags: map[string]string{"text": "a", "head": "ann", "none": "nobody", "env": "caller-1", "form": "ann/HTTP/1.1", "istio.namespace": "default"}}},
		"tags of MeshConfig":          {mesh: otlp + byDefault + ", customTags: {text: {literal: {value: a}}}, maxPathTagLength: 9, enableIstioTags: false}}", want: envoy.Span{Tags: map[string]string{"text": "a", "istio.namespace": "", "http.url": "http://reviews:9080/traced/w"}}},
		"tags replace those before":   {mesh: otlp + byDefault + ", customTags: {text: {literal: {value: a}}}}}", telemetry: "tracing: [{customTags: {more: {literal: {value: b}}}, enableIstioTags: false}]", want: envoy.Span{Tags: map[string]string{"text": "", "more": "b", "istio.namespace": ""}}},
		"the old way":                 {mesh: "enableTracing: true\ndefaultConfig: {tracing: {sampling: 100, zipkin: {address: \"collector.watch:4318\"}}}", want: envoy.Span{Cluster: "trace|4318|defaultConfig|collector.watch.svc.cluster.local", Path: "/api/v2/spans"}},
		"no propagation":              {mesh: otlp, telemetry: named + ", disableContextPropagation: true}]", unseen: []string{"Traceparent"}, want: envoy.Span{Name: "reviews.default.svc.cluster.local:9080/*"}},
		"disabled":                    {mesh: otlp + byDefault + "}}", telemetry: "tracing: [{disableSpanReporting: true}]", none: true},
		"disabled for servers":        {mesh: otlp + byDefault + "}}", telemetry: "tracing: [{match: {mode: SERVER}, disableSpanReporting: true}]", want: envoy.Span{Name: "reviews.default.svc.cluster.local:9080/*"}},
		"not sampled by those before": {mesh: otlp, telemetry: named + which + "}]", headers: unsampled, then: map[string][]string{"X-Which": {"second"}}, want: envoy.Span{Tags: map[string]string{"which": "second"}}},
		"nothing is sampled":          {mesh: otlp, telemetry: "tracing: [{providers: [{name: otel}], randomSamplingPercentage: 0}]", then: sampled, want: envoy.Span{Trace: "0af7651916cd43dd8448eb211c80319c"}},
		"nobody is named":             {mesh: otlp, telemetry: "tracing: [{randomSamplingPercentage: 100}]", none: true},
		"a provider of nowhere":       {mesh: strings.Replace(otlp, "collector.watch", "nobody.watch", 1), telemetry: named + "}]", none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWorld(t, collectorService+telemetryOf(t, c.mesh, c.telemetry))
			last := simulate.Call{Path: "/traced/way", Headers: c.headers}
			seen := w.do(t, last).Seen[0].Request.Headers
			for _, name := range slices.Concat(c.seen, c.unseen) {
				if want := slices.Contains(c.seen, name); want != (len(seen[name])+len(seen[strings.ToLower(name)]) > 0) {
					t.Errorf("the endpoint gets the header %s: %v, want %v: %v", name, !want, want, seen)
				}
			}
			if c.none {
				if dump, err := w.ConfigDump(t.Context()); err != nil || strings.Contains(dump, "random_sampling") {
					t.Errorf("spans are reported: %v", err)
				}
				return
			}
			if c.then != nil {
				last.Headers = c.then
				w.do(t, last)
			}
			spanned(t, w, last, c.want)
		})
	}
}

// spanned waits until a collector has a span, which must be as wanted. Envoy
// sends spans every 5 s, once: where they were lost, as on a machine that stalls,
// the call is made again.
func spanned(t *testing.T, w world, last simulate.Call, want envoy.Span) {
	t.Helper()
	tick, again := time.NewTicker(50*time.Millisecond), time.NewTicker(10*time.Second)
	defer tick.Stop()
	defer again.Stop()
	for deadline := time.After(60 * time.Second); ; {
		if got := w.Spans(); len(got) > 0 {
			differs(t, got[0], want)
			return
		}
		select {
		case <-tick.C:
		case <-again.C:
			w.do(t, last)
		case <-deadline:
			t.Fatal("no span came within a minute")
		}
	}
}

func differs(t *testing.T, got, want envoy.Span) {
	t.Helper()
	for what, pair := range map[string][2]string{
		"cluster": {got.Cluster, want.Cluster}, "path": {got.Path, want.Path}, "name": {got.Name, want.Name}, "service": {got.Service, want.Service},
		"trace": {got.Trace, want.Trace}, "parent": {got.Parent, want.Parent},
	} {
		if pair[1] != "" && pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	for name, value := range want.Tags {
		if got.Tags[name] != value {
			t.Errorf("tag %s: %q, want %q, of %v", name, got.Tags[name], value, got.Tags)
		}
	}
	for name := range want.Headers {
		if got.Headers.Get(name) != want.Headers.Get(name) {
			t.Errorf("header %s of the call: %q, want %q", name, got.Headers.Get(name), want.Headers.Get(name))
		}
	}
}

// TestLogsNameTheTrace: a log's line can name the trace of its request.
func TestLogsNameTheTrace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	w := startWorld(t, collectorService+telemetryOf(t, `
extensionProviders: [{name: otel, opentelemetry: {service: collector.watch.svc.cluster.local, port: 4317}}]
defaultProviders: {tracing: [otel]}
accessLogFormat: "%TRACE_ID%"
accessLogFile: `+file, ""))
	w.do(t, simulate.Call{Path: "/", Headers: map[string][]string{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}})
	holds(t, file, "0af7651916cd43dd8448eb211c80319c\n")
}
