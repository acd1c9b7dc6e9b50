package injector

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// appProbe is one probe or hook of the app as the agent reads it. Its JSON
// form is Kubernetes' own, with port names resolved.
type appProbe struct {
	HTTPGet        *corev1.HTTPGetAction   `json:"httpGet,omitempty"`
	TCPSocket      *corev1.TCPSocketAction `json:"tcpSocket,omitempty"`
	GRPC           *corev1.GRPCAction      `json:"grpc,omitempty"`
	TimeoutSeconds int32                   `json:"timeoutSeconds,omitempty"`
}

// rewriteProbes points the app's probes and HTTP hooks at the agent, since the
// kubelet has no certificate of the mesh, and since capture takes any TCP
// connection, so that a TCP probe would say nothing of the app. It returns what
// they were, by path, in JSON; "" if there are none.
func rewriteProbes(pod *corev1.Pod, s *settings) string {
	if !s.rewrite || s.capture == nil {
		return ""
	}
	found := map[string]appProbe{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for path, probe := range probesOf(&list[i]) {
				if p, ok := takeProbe(probe, &list[i], path, s.statusPort); ok {
					found[path] = p
				}
			}
			for path, hook := range hooksOf(&list[i]) {
				if p, ok := takeHandler(hook.HTTPGet, &list[i], path, s.statusPort); ok {
					found[path] = p
				}
			}
		}
	}
	if len(found) == 0 {
		return ""
	}
	text, err := json.Marshal(found)
	if err != nil {
		return "" // API types have a JSON form
	}
	return string(text)
}

// probesOf are a container's probes by the path that the agent serves each at.
func probesOf(c *corev1.Container) map[string]*corev1.Probe {
	out := map[string]*corev1.Probe{}
	for kind, p := range map[string]*corev1.Probe{"readyz": c.ReadinessProbe, "livez": c.LivenessProbe, "startupz": c.StartupProbe} {
		if p != nil {
			out[fmt.Sprintf("/app-health/%s/%s", c.Name, kind)] = p
		}
	}
	return out
}

func hooksOf(c *corev1.Container) map[string]*corev1.LifecycleHandler {
	out := map[string]*corev1.LifecycleHandler{}
	if c.Lifecycle == nil {
		return out
	}
	for kind, h := range map[string]*corev1.LifecycleHandler{"poststartz": c.Lifecycle.PostStart, "prestopz": c.Lifecycle.PreStop} {
		if h != nil {
			out[fmt.Sprintf("/app-lifecycle/%s/%s", c.Name, kind)] = h
		}
	}
	return out
}

// takeProbe returns what the probe was and points it at the agent. One that the
// agent cannot make in the kubelet's place is left as it is: it runs a command,
// asks another host, or names a port that the container has not.
func takeProbe(p *corev1.Probe, c *corev1.Container, path string, agent int32) (appProbe, bool) {
	was := appProbe{TimeoutSeconds: p.TimeoutSeconds}
	switch {
	case p.HTTPGet != nil:
		out, ok := takeHandler(p.HTTPGet, c, path, agent)
		out.TimeoutSeconds = p.TimeoutSeconds
		return out, ok
	case p.TCPSocket != nil:
		port, ok := portOf(p.TCPSocket.Port, c)
		if !ok || p.TCPSocket.Host != "" {
			return appProbe{}, false
		}
		was.TCPSocket = &corev1.TCPSocketAction{Port: port}
	case p.GRPC != nil:
		was.GRPC = p.GRPC
	default:
		return appProbe{}, false
	}
	p.ProbeHandler = corev1.ProbeHandler{HTTPGet: agentAction(path, agent)}
	return was, true
}

// takeHandler does so for an HTTP action.
func takeHandler(a *corev1.HTTPGetAction, c *corev1.Container, path string, agent int32) (appProbe, bool) {
	if a == nil || a.Host != "" {
		return appProbe{}, false
	}
	port, ok := portOf(a.Port, c)
	if !ok {
		return appProbe{}, false
	}
	was := *a
	was.Port = port
	*a = *agentAction(path, agent)
	return appProbe{HTTPGet: &was}, true
}

func agentAction(path string, agent int32) *corev1.HTTPGetAction {
	return &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(agent), Scheme: corev1.URISchemeHTTP}
}

// portOf resolves a port's name in its container, as the kubelet does.
func portOf(port intstr.IntOrString, c *corev1.Container) (intstr.IntOrString, bool) {
	if port.Type == intstr.Int {
		return port, port.IntVal > 0
	}
	i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal })
	if i < 0 {
		return port, false
	}
	return intstr.FromInt32(c.Ports[i].ContainerPort), true
}

// restoreProbes undoes rewriteProbes.
func restoreProbes(pod *corev1.Pod, proxy *corev1.Container) {
	var was map[string]appProbe
	if json.Unmarshal([]byte(orNothing(variable(proxy, "ISTIO_KUBE_APP_PROBERS"))), &was) != nil {
		return // not ours: it is left as it is
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for path, p := range probesOf(&list[i]) {
				if old, ok := was[path]; ok && at(p.HTTPGet, path) {
					p.ProbeHandler = corev1.ProbeHandler{HTTPGet: old.HTTPGet, TCPSocket: old.TCPSocket, GRPC: old.GRPC}
				}
			}
			for path, h := range hooksOf(&list[i]) {
				if old, ok := was[path]; ok && at(h.HTTPGet, path) {
					h.HTTPGet = old.HTTPGet
				}
			}
		}
	}
}

func at(a *corev1.HTTPGetAction, path string) bool { return a != nil && a.Path == path }
