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
	"google.golang.org/protobuf/types/known/wrapperspb"
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
	fail := failing(func(field, format string, args ...any) {
		failed = append(failed, FieldError{field, fmt.Errorf(format, args...)})
	})
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
	out.ConnectionSettings = connectionLimits(in.GetConnectionSettings(), fail)
	agentCollectors(in, out, fail)
	if named, ok := in.GetClusterName().(*meshv1.ProxyConfig_TracingServiceName_); ok {
		if meshv1.ProxyConfig_TracingServiceName_name[int32(named.TracingServiceName)] == "" {
			fail("tracingServiceName", "want APP_LABEL_AND_NAMESPACE, CANONICAL_NAME_ONLY or CANONICAL_NAME_AND_NAMESPACE")
		} else {
			out.ClusterName = named
		}
	}
	return compactJSON(out), failed
}

// failing takes a field that cannot be, and what it must be.
type failing func(field, format string, args ...any)

// connectionLimits are those that Envoy has in its bootstrap; nil: none.
func connectionLimits(in *meshv1.ProxyConfig_ConnectionSettings, fail failing) *meshv1.ProxyConfig_ConnectionSettings {
	limit := func(field string, n *wrapperspb.Int32Value) *wrapperspb.Int32Value {
		if n != nil && n.GetValue() < 1 {
			fail("connectionSettings."+field, "want 1 or more")
			return nil
		}
		return n
	}
	out := &meshv1.ProxyConfig_ConnectionSettings{
		GlobalDownstreamConnectionLimit: limit("globalDownstreamConnectionLimit", in.GetGlobalDownstreamConnectionLimit()),
		ListenerConnectionLimit:         limit("listenerConnectionLimit", in.GetListenerConnectionLimit()),
	}
	if out.GetGlobalDownstreamConnectionLimit() == nil && out.GetListenerConnectionLimit() == nil {
		return nil
	}
	return out
}

// statsMatcher are the patterns that Envoy takes: it starts with no other.
func statsMatcher(in *meshv1.ProxyConfig_ProxyStatsMatcher, fail failing) *meshv1.ProxyConfig_ProxyStatsMatcher {
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
