package controller

import (
	"maps"
	"runtime"
	"slices"
	"strings"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/config"
)

// workers is how many threads Envoy has: one, unless a ProxyConfig or
// defaultConfig of the mesh says how many; 0 is one for each CPU.
func workers(settings *mesh.ProxyConfig) int {
	n := settings.GetConcurrency()
	switch {
	case n == nil || n.GetValue() < 0:
		return 1
	case n.GetValue() == 0:
		return runtime.NumCPU()
	}
	return int(n.GetValue())
}

// withSettings adds the variables that a ProxyConfig gives the agent to those
// that say who the pod is, which it cannot change. What Envoy would not start with
// is left out: the pilot says so.
func withSettings(env []string, settings *mesh.ProxyConfig) []string {
	if text, _ := config.AgentProxy(settings); text != "" {
		env = append(env, config.AgentVariable+"="+text)
	}
	for _, name := range slices.Sorted(maps.Keys(settings.GetProxyMetadata())) {
		taken := slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if !taken && name != "" && !strings.ContainsAny(name, "= \t\n\x00") {
			env = append(env, name+"="+settings.GetProxyMetadata()[name])
		}
	}
	return env
}
