package command

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/weftmesh/weft/internal/agent"
	"github.com/weftmesh/weft/internal/agent/bootstrap"
)

// proxyConfig is what the agent reads of Istio's PROXY_CONFIG: the part of a
// ProxyConfig that Envoy starts with. Other fields are for those who read them.
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig, in its JSON form.
type proxyConfig struct {
	ProxyStatsMatcher struct {
		InclusionPrefixes, InclusionSuffixes, InclusionRegexps []string
	}
	RuntimeValues      map[string]any // of a gateway as its chart has them
	FileFlushInterval  string
	FileFlushMinSizeKb uint32
	ConnectionSettings struct{ GlobalDownstreamConnectionLimit int64 }
}

// readProxyConfig adds what PROXY_CONFIG says to how Envoy is run.
func readProxyConfig(text string, into *agent.EnvoyOptions) error {
	if text == "" {
		return nil
	}
	var in proxyConfig
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return fmt.Errorf("PROXY_CONFIG: want a ProxyConfig in JSON: %w", err)
	}
	if in.FileFlushInterval != "" {
		d, err := time.ParseDuration(in.FileFlushInterval)
		if err != nil || d < time.Millisecond {
			return fmt.Errorf("PROXY_CONFIG: fileFlushInterval %q: want 1ms or more", in.FileFlushInterval)
		}
		into.FlushInterval = d
	}
	m := in.ProxyStatsMatcher
	into.Stats = bootstrap.Stats{Prefixes: m.InclusionPrefixes, Suffixes: m.InclusionSuffixes, Regexps: m.InclusionRegexps}
	if n := in.ConnectionSettings.GlobalDownstreamConnectionLimit; n > 0 {
		into.MaxConnections = n
	}
	into.FlushKB, into.Runtime = in.FileFlushMinSizeKb, map[string]string{}
	for name, v := range in.RuntimeValues {
		into.Runtime[name] = fmt.Sprint(v)
	}
	return nil
}
