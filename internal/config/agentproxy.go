package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	meshv1 "istio.io/api/mesh/v1alpha1"
)

// AgentVariable is the environment variable that tells an agent what of a
// ProxyConfig its Envoy starts with, as AgentProxy gives it; the name is Istio's.
const AgentVariable = "PROXY_CONFIG"

// maxStatRegexp bounds a pattern in bytes, as elsewhere in Istio's API.
const maxStatRegexp = 1024

// FieldError is a field whose value cannot be.
type FieldError struct {
	Field string // from the message on, such as "proxyStatsMatcher.inclusionRegexps[0]"
	Err   error
}

func (e FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e FieldError) Unwrap() error { return e.Err }

// AgentProxy is the part of a ProxyConfig that Envoy starts with and the pilot
// has no say in, as JSON of that message; empty: it says nothing of that. A value
// with which Envoy would not start is left out, and is among the errors.
//
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.
func AgentProxy(in *meshv1.ProxyConfig) (text string, failed []FieldError) {
	out := &meshv1.ProxyConfig{FileFlushMinSizeKb: in.GetFileFlushMinSizeKb()}
	fail := func(field, format string, args ...any) {
		failed = append(failed, FieldError{field, fmt.Errorf(format, args...)})
	}
	if m := in.GetProxyStatsMatcher(); m != nil {
		out.ProxyStatsMatcher = statsMatcher(m, fail)
	}
	for _, name := range slices.Sorted(maps.Keys(in.GetRuntimeValues())) {
		if name == "" {
			fail("runtimeValues", "want the name of a value before each value")
			continue
		}
		if out.RuntimeValues == nil {
			out.RuntimeValues = map[string]string{}
		}
		out.RuntimeValues[name] = in.GetRuntimeValues()[name]
	}
	if d := in.GetFileFlushInterval(); d != nil {
		if d.CheckValid() != nil || d.AsDuration() < time.Millisecond || d.AsDuration() > 24*time.Hour {
			fail("fileFlushInterval", "want 1ms to 24h")
		} else {
			out.FileFlushInterval = d
		}
	}
	if n := in.GetConnectionSettings().GetGlobalDownstreamConnectionLimit(); n != nil {
		if n.GetValue() < 1 {
			fail("connectionSettings.globalDownstreamConnectionLimit", "want 1 or more")
		} else {
			out.ConnectionSettings = &meshv1.ProxyConfig_ConnectionSettings{GlobalDownstreamConnectionLimit: n}
		}
	}
	return compactJSON(out), failed
}

// statsMatcher are the patterns that Envoy takes: it starts with no other.
func statsMatcher(in *meshv1.ProxyConfig_ProxyStatsMatcher, fail func(field, format string, args ...any)) *meshv1.ProxyConfig_ProxyStatsMatcher {
	const at = "proxyStatsMatcher."
	filled := func(field string, all []string) (out []string) {
		for i, one := range all {
			if one == "" {
				fail(fmt.Sprintf("%s%s[%d]", at, field, i), "want a part of a statistic's name, not an empty text")
				continue
			}
			out = append(out, one)
		}
		return out
	}
	out := &meshv1.ProxyConfig_ProxyStatsMatcher{
		InclusionPrefixes: filled("inclusionPrefixes", in.GetInclusionPrefixes()),
		InclusionSuffixes: filled("inclusionSuffixes", in.GetInclusionSuffixes()),
	}
	for i, one := range in.GetInclusionRegexps() {
		switch _, err := regexp.Compile(one); {
		case err != nil:
			fail(fmt.Sprintf("%sinclusionRegexps[%d]", at, i), "want a regular expression of RE2: %w", err)
		case one == "" || len(one) > maxStatRegexp:
			fail(fmt.Sprintf("%sinclusionRegexps[%d]", at, i), "want a regular expression of 1 to %d bytes", maxStatRegexp)
		default:
			out.InclusionRegexps = append(out.InclusionRegexps, one)
		}
	}
	return out
}

// compactJSON is the same text for the same message; empty for an empty one.
func compactJSON(in *meshv1.ProxyConfig) string {
	raw, err := protojson.Marshal(in)
	if err != nil {
		return "" // text that is no UTF-8; nothing that was read from JSON has any
	}
	var out bytes.Buffer
	if json.Compact(&out, raw) != nil || out.String() == "{}" {
		return ""
	}
	return out.String()
}
