package config

import (
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
		ConnectionSettings: &meshv1.ProxyConfig_ConnectionSettings{GlobalDownstreamConnectionLimit: wrapperspb.Int32(7), HttpMergeSlashes: wrapperspb.Bool(true)},
	}
	const want = `{"runtimeValues":{"x":"1"},"proxyStatsMatcher":{"inclusionPrefixes":["a"],"inclusionSuffixes":["b"],"inclusionRegexps":["c.*"]},"fileFlushInterval":"0.100s","fileFlushMinSizeKb":8,"connectionSettings":{"globalDownstreamConnectionLimit":7}}`
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
