package config

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshv1 "istio.io/api/mesh/v1alpha1"
)

// TestAgentProxy: agents are told what Envoy starts with and nothing else, and
// nothing that it would not start with.
func TestAgentProxy(t *testing.T) {
	in := &meshv1.ProxyConfig{
		Concurrency:       wrapperspb.Int32(2),
		ProxyStatsMatcher: &meshv1.ProxyConfig_ProxyStatsMatcher{InclusionPrefixes: []string{"a", ""}, InclusionSuffixes: []string{"b"}, InclusionRegexps: []string{"c.*", "("}},
		RuntimeValues:     map[string]string{"x": "1", "": "2"}, FileFlushInterval: durationpb.New(100 * time.Millisecond), FileFlushMinSizeKb: 8,
		ConnectionSettings: &meshv1.ProxyConfig_ConnectionSettings{GlobalDownstreamConnectionLimit: wrapperspb.Int32(7), ListenerConnectionLimit: wrapperspb.Int32(5), HttpMergeSlashes: wrapperspb.Bool(true)},
	}
	const want = `{"runtimeValues":{"x":"1"},"proxyStatsMatcher":{"inclusionPrefixes":["a"],"inclusionSuffixes":["b"],"inclusionRegexps":["c.*"]},"fileFlushInterval":"0.100s","fileFlushMinSizeKb":8,"connectionSettings":{"listenerConnectionLimit":5,"globalDownstreamConnectionLimit":7}}`
	for range 20 {
		text, wrong := AgentProxy(in)
		if text != want {
			t.Fatalf("got  %s\nwant %s", text, want)
		}
		var fields []string
		for _, w := range wrong {
			fields = append(fields, w.Field)
		}
		if len(fields) != 3 || fields[0] != "proxyStatsMatcher.inclusionPrefixes[1]" || fields[1] != "proxyStatsMatcher.inclusionRegexps[1]" || fields[2] != "runtimeValues" {
			t.Fatalf("wrong are %v", wrong)
		}
	}
	if text, wrong := AgentProxy(&meshv1.ProxyConfig{FileFlushInterval: durationpb.New(0), Concurrency: wrapperspb.Int32(2)}); text != "" || len(wrong) != 1 {
		t.Errorf("got %q, %v", text, wrong)
	}
	if text, wrong := AgentProxy(nil); text != "" || len(wrong) != 0 {
		t.Errorf("of nothing: %q, %v", text, wrong)
	}
}

// TestAgentCollectors: agents are told of services by an address, and of no such
// service whose TLS they could not have as it says.
func TestAgentCollectors(t *testing.T) {
	for text, want := range map[string]string{
		"statsdUdpAddress: statsd.watch:8125":                                  `{"statsdUdpAddress":"statsd.watch:8125"}`,
		"statsdUdpAddress: statsd":                                             "statsdUdpAddress",
		"statsdUdpAddress: '*.watch:1'":                                        "statsdUdpAddress",
		"statsdUdpAddress: 'a:0'":                                              "statsdUdpAddress",
		"tracingServiceName: CANONICAL_NAME_ONLY":                              `{"tracingServiceName":"CANONICAL_NAME_ONLY"}`,
		"tracingServiceName: 9":                                                "tracingServiceName",
		"connectionSettings: {listenerConnectionLimit: 0}":                     "connectionSettings.listenerConnectionLimit",
		"envoyAccessLogService: {}":                                            "",
		"envoyAccessLogService: {address: '[::1]:90'}":                         `{"envoyAccessLogService":{"address":"[::1]:90"}}`,
		"envoyMetricsService: {address: 'a b:90'}":                             "envoyMetricsService.address",
		"envoyMetricsService: {address: 'm:90', tlsSettings: {mode: DISABLE}}": `{"envoyMetricsService":{"address":"m:90"}}`,
		"envoyMetricsService: {address: 'm:90', tlsSettings: {mode: ISTIO_MUTUAL, sni: s, subjectAltNames: [name]}, tcpKeepalive: {probes: 3, time: 9s}}": `{"envoyMetricsService":{"address":"m:90","tlsSettings":{"mode":"ISTIO_MUTUAL","subjectAltNames":["name"],"sni":"s"},"tcpKeepalive":{"probes":3,"time":"9s"}}}`,
		"envoyMetricsService: {address: 'm:90', tlsSettings: {mode: ISTIO_MUTUAL, insecureSkipVerify: true}}":                                             "envoyMetricsService.tlsSettings",
		"envoyMetricsService: {address: 'm:90', tlsSettings: {mode: MUTUAL, clientCertificate: /c}}":                                                      "envoyMetricsService.tlsSettings",
		"envoyMetricsService: {address: 'm:90', tlsSettings: {mode: SIMPLE, caCertificates: ca.pem}}":                                                     "envoyMetricsService.tlsSettings",
		"envoyMetricsService: {address: 'm:90', tlsSettings: {mode: SIMPLE, credentialName: c}}":                                                          "envoyMetricsService.tlsSettings",
		"envoyMetricsService: {address: 'm:90', tcpKeepalive: {interval: 0.001s}}":                                                                        "envoyMetricsService.tcpKeepalive.interval",
	} {
		in, err := ParseProxyConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		got, wrong := AgentProxy(in)
		if strings.HasPrefix(want, "{") || want == "" {
			if got != want || len(wrong) > 0 {
				t.Errorf("%s: %s, %v", text, got, wrong)
			}
		} else if got != "" || len(wrong) != 1 || wrong[0].Field != want {
			t.Errorf("%s: %s, %v, want an error at %s", text, got, wrong, want)
		}
	}
}
