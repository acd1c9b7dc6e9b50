package controller

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	mesh "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
)

// proxySettings are what holds for a pod's proxy, as the injector reads it in a
// cluster.
func (s surroundings) proxySettings(p *corev1.Pod) (*mesh.ProxyConfig, error) {
	return s.set.Proxy(config.ProxyTarget{Namespace: p.Namespace, Labels: p.Labels, Annotation: p.Annotations[config.ProxyAnnotation]})
}

// drain is how long inbound connections may take to end at a stop: what a ProxyConfig
// says, but no longer than the pod has, else half of that.
func drain(p *corev1.Pod, settings *mesh.ProxyConfig) time.Duration {
	all := time.Duration(grace(p)) * time.Second
	if d := settings.GetTerminationDrainDuration().AsDuration(); d > 0 {
		return min(d, max(time.Second, all))
	}
	return max(time.Second, all/2)
}

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
