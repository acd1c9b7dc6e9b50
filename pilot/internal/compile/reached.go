package compile

import (
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/config"
)

// Caller is somebody who reaches a pod's port without the mesh's mTLS, as the
// pod's own object says.
type Caller struct {
	Port uint32
	// Kind is "probe", the kubelet's, or "scrape", Prometheus'.
	Kind string
	// At is the field or annotation that says so.
	At string
}

// Ports that the agent serves itself: they do not pass Envoy's inbound side.
var agentPorts = []uint32{15020, 15021, 15090}

// CallersOf are those that a pod names, as the injector has left it. Of a pod
// without a sidecar container, as a local mesh has them, there are none: its
// probes are run within it.
func CallersOf(o *config.Object) (out []Caller) {
	pod, ok := o.Spec.(*core.Pod)
	if !ok || !slices.ContainsFunc(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers), isProxy) {
		return nil
	}
	add := func(kind, at string, port uint32) {
		if port != 0 && !slices.Contains(agentPorts, port) {
			out = append(out, Caller{Port: port, Kind: kind, At: at})
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if isProxy(*c) {
			continue
		}
		for _, p := range []struct {
			name  string
			probe *core.Probe
		}{{"livenessProbe", c.LivenessProbe}, {"readinessProbe", c.ReadinessProbe}, {"startupProbe", c.StartupProbe}} {
			if p.probe != nil {
				add("probe", "container "+c.Name+", "+p.name, probed(c, p.probe))
			}
		}
	}
	if o.Annotations["prometheus.io/scrape"] == "true" {
		port, err := strconv.ParseUint(o.Annotations["prometheus.io/port"], 10, 16)
		if err == nil {
			add("scrape", "annotation prometheus.io/port", uint32(port))
		}
	}
	return out
}

func isProxy(c core.Container) bool { return c.Name == "istio-proxy" }

// probed is the port that a probe calls; 0: none.
func probed(c *core.Container, p *core.Probe) uint32 {
	number := func(port intstr.IntOrString) uint32 {
		if port.Type == intstr.Int {
			return uint32(port.IntVal)
		}
		for _, named := range c.Ports {
			if named.Name == port.StrVal {
				return uint32(named.ContainerPort)
			}
		}
		return 0
	}
	switch {
	case p.HTTPGet != nil && p.HTTPGet.Host == "":
		return number(p.HTTPGet.Port)
	case p.TCPSocket != nil && p.TCPSocket.Host == "":
		return number(p.TCPSocket.Port)
	case p.GRPC != nil:
		return uint32(p.GRPC.Port)
	}
	return 0
}

// Uncaptured says by which annotation connections to a pod's port do not pass
// its proxy; empty: they do.
func Uncaptured(o *config.Object, port uint32) string {
	const exclude, include = "traffic.sidecar.istio.io/excludeInboundPorts", "traffic.sidecar.istio.io/includeInboundPorts"
	text := strconv.FormatUint(uint64(port), 10)
	has := func(list string) bool {
		return slices.ContainsFunc(strings.Split(list, ","), func(p string) bool { return strings.TrimSpace(p) == text })
	}
	if has(o.Annotations[exclude]) {
		return exclude
	}
	if list, ok := o.Annotations[include]; ok && list != "*" && !has(list) {
		return include
	}
	return ""
}

// Door is the type of a Service that clients outside of the cluster reach,
// NodePort or LoadBalancer; empty: it is of no such type.
func Door(set config.Set, namespace, name string) string {
	o, ok := set.Of(config.Service).Get(namespace + "/" + name)
	if !ok {
		return ""
	}
	if s, ok := o.Spec.(*core.Service); ok && (s.Spec.Type == core.ServiceTypeNodePort || s.Spec.Type == core.ServiceTypeLoadBalancer) {
		return string(s.Spec.Type)
	}
	return ""
}
