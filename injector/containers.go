package injector

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/config"
)

// Paths in the proxy's image and container.
const (
	agentPath   = "/usr/local/bin/agent"
	capturePath = "/usr/local/bin/capture"
	envoyPath   = "/usr/local/bin/envoy"

	proxyDir   = "/etc/istio/proxy" // writable: sockets and Envoy's bootstrap
	podInfoDir = "/etc/istio/pod"
	tokenDir   = "/var/run/secrets/tokens"
	rootsDir   = "/var/run/secrets/istio"
)

// Ports of the proxy.
const (
	healthPort     = 15021
	prometheusPort = 15090
)

func (s *settings) proxyContainer() corev1.Container {
	c := corev1.Container{
		Name: proxyName, Image: s.image, ImagePullPolicy: corev1.PullPolicy(s.values.Global.ImagePullPolicy),
		Command: []string{agentPath}, Args: s.agentArgs(),
		Ports:           []corev1.ContainerPort{s.metricsPort()},
		Env:             s.environment(),
		Resources:       s.resources,
		SecurityContext: unprivileged(proxyUID),
		VolumeMounts:    append(mounts(), s.mounts...),
		ReadinessProbe:  s.health(s.readiness.delay, s.readiness.period, s.readiness.failures),
		// The next container starts when this has passed: once a second, so that
		// the app does not wait longer than it must, and for as long as a CA may
		// take to come.
		StartupProbe: s.health(0, 1, 600),
		Lifecycle:    s.hooks(),
	}
	if s.native && !s.gateway {
		always := corev1.ContainerRestartPolicyAlways
		c.RestartPolicy = &always
	}
	return c
}

func (s *settings) agentArgs() []string {
	const runDir = "--run-dir=" + proxyDir + "/run" // of its own: that of the volume belongs to root
	if s.grpc {
		return slices.Concat([]string{"proxy", "grpc", runDir, "--group-access"}, s.meshArgs(), []string{"--log-level=" + s.agentLevel}, s.portArgs())
	}
	role := "sidecar"
	if s.gateway {
		role = "router"
	}
	args := slices.Concat([]string{"proxy", role, runDir, "--envoy=" + envoyPath}, s.meshArgs(), []string{
		"--concurrency=" + strconv.FormatInt(s.workers(), 10),
		"--envoy-log-level=" + s.logLevel, "--log-level=" + s.agentLevel,
	})
	if s.componentLogLevel != "" {
		args = append(args, "--envoy-component-log-level="+s.componentLogLevel)
	}
	if s.drain > 0 {
		args = append(args, "--drain-duration="+s.drain.String())
	}
	args = append(args, s.portArgs()...)
	if s.capture != nil && s.dns {
		args = append(args, "--dns-listen=127.0.0.1:15053,[::1]:15053", "--dns-upstream=/etc/resolv.conf")
	}
	return args
}

// meshArgs say where the mesh is, and by what the pod proves who it is.
func (s *settings) meshArgs() []string {
	g, ending := s.values.Global, suffix(s.values.Revision)
	return []string{
		"--pilot=" + g.PilotAddress, "--pilot-identity=" + g.Namespace + "/weft-pilot" + ending,
		"--ca=" + g.CAAddress, "--ca-identity=" + g.Namespace + "/weft-ca", // one for all revisions
		"--root-cert=" + rootsDir + "/root-cert.pem", "--token=" + tokenDir + "/istio-token",
		"--labels-file=" + podInfoDir + "/labels",
		"--domain=" + g.Proxy.ClusterDomain,
	}
}

func (s *settings) portArgs() []string {
	if s.statusPort == defaultStatusPort {
		return nil
	}
	return []string{fmt.Sprintf("--status-port=%d", s.statusPort)}
}

// metricsPort is Envoy's own, or the agent's where there is no Envoy.
func (s *settings) metricsPort() corev1.ContainerPort {
	if s.grpc {
		return corev1.ContainerPort{Name: "mesh-metrics", ContainerPort: s.statusPort, Protocol: corev1.ProtocolTCP}
	}
	return corev1.ContainerPort{Name: "http-envoy-prom", ContainerPort: prometheusPort, Protocol: corev1.ProtocolTCP}
}

// environment says who the pod is; labels come by a volume, for some are given
// after injection.
func (s *settings) environment() []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	env := []corev1.EnvVar{
		field("POD_NAME", "metadata.name"),
		field("POD_NAMESPACE", "metadata.namespace"),
		field("INSTANCE_IP", "status.podIPs"),
		field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
		field("HOST_IP", "status.hostIP"),
	}
	literal := func(name, value string) {
		if value != "" {
			env = append(env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	literal("TRUST_DOMAIN", s.values.TrustDomain)
	literal("ISTIO_META_CLUSTER_ID", s.values.Global.MultiCluster.ClusterName)
	literal("ISTIO_META_MESH_ID", s.meshID())
	literal("ISTIO_META_WORKLOAD_NAME", s.workload())
	literal("ISTIO_PROMETHEUS_ANNOTATIONS", s.prometheus)
	literal("ISTIO_KUBE_APP_PROBERS", s.probes)
	if text, _ := config.AgentProxy(s.proxy); !s.grpc {
		literal(config.AgentVariable, strings.ReplaceAll(text, "$", "$$")) // Kubernetes reads $$ and $(NAME) in it
	}
	metadata := s.proxy.GetProxyMetadata()
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		literal(name, metadata[name])
	}
	return env
}

func (s *settings) meshID() string {
	if id := s.proxy.GetMeshId(); id != "" {
		return id
	}
	return s.values.Global.MeshID
}

// hooks: at the end of a pod the proxy first takes no more traffic, while the
// app ends and still calls out. The kubelet ends a native sidecar after the
// app by itself; a classic one waits for it here. A classic one that holds the
// app is waited for at the start, as Istio does it.
func (s *settings) hooks() *corev1.Lifecycle {
	run := func(args ...string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: slices.Concat([]string{agentPath}, args, s.portArgs())}}
	}
	switch {
	case s.native || s.gateway:
		return &corev1.Lifecycle{PreStop: run("drain")}
	case s.hold:
		return &corev1.Lifecycle{PreStop: run("drain", "--wait-for-app"), PostStart: run("wait")}
	}
	return &corev1.Lifecycle{PreStop: run("drain", "--wait-for-app")}
}

// drainedPath is where the agent answers when the app may end.
const drainedPath = "/drained"

// holdApps keeps each container of the app from its SIGTERM until callers have
// gone elsewhere: at that moment most programs close their port, and the proxies
// of the callers learn a little later that the pod ends. One that has a hook of
// its own knows better.
func (s *settings) holdApps(pod *corev1.Pod) {
	if s.gateway || !s.stopAfterDrain {
		return
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if c.Lifecycle == nil {
			c.Lifecycle = &corev1.Lifecycle{}
		}
		if c.Lifecycle.PreStop == nil {
			c.Lifecycle.PreStop = &corev1.LifecycleHandler{HTTPGet: agentAction(drainedPath, s.statusPort)}
		}
	}
}

// releaseApps undoes holdApps.
func releaseApps(pod *corev1.Pod) {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || !at(c.Lifecycle.PreStop.HTTPGet, drainedPath) {
			continue
		}
		if c.Lifecycle.PreStop = nil; *c.Lifecycle == (corev1.Lifecycle{}) {
			c.Lifecycle = nil
		}
	}
}

// health asks Envoy's own listener, so that a proxy that does not serve is not
// called well; the agent where there is no Envoy.
func (s *settings) health(delay, period, failures int32) *corev1.Probe {
	port := int32(healthPort)
	if s.grpc {
		port = s.statusPort
	}
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: "/healthz/ready", Port: intstr.FromInt32(port), Scheme: corev1.URISchemeHTTP}},
		InitialDelaySeconds: delay, PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 3,
	}
}

// unprivileged may do nothing but run.
func unprivileged(uid int64) *corev1.SecurityContext {
	no, yes := false, true
	nonRoot := uid != 0
	return &corev1.SecurityContext{
		RunAsUser: &uid, RunAsGroup: &uid, RunAsNonRoot: &nonRoot,
		AllowPrivilegeEscalation: &no, Privileged: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// initContainer is the one container with a right over the network, of the pod
// alone, and it ends before any other starts. Rules over netlink need
// CAP_NET_ADMIN and, unlike iptables, no CAP_NET_RAW.
func (s *settings) initContainer() corev1.Container {
	g, c := s.values.Global, s.capture
	args := []string{fmt.Sprintf("--proxy-uid=%d", proxyUID)}
	say := func(flag, value, usual string) {
		if value != usual {
			args = append(args, flag+"="+value)
		}
	}
	say("--include-inbound-ports", c.inboundPorts, "*")
	say("--exclude-inbound-ports", s.excludedInbound(), "")
	say("--include-outbound-ranges", c.outboundRanges, "*")
	say("--exclude-outbound-ranges", c.excludeOutboundRanges, "")
	say("--include-outbound-ports", c.outboundPorts, "")
	say("--exclude-outbound-ports", c.excludeOutboundPorts, "")
	say("--exclude-interfaces", c.excludeInterfaces, "")
	say("--reroute-interfaces", c.rerouteInterfaces, "")
	say("--dns", strconv.FormatBool(s.dns), "true")
	out := corev1.Container{
		Name: initName, Image: s.image, ImagePullPolicy: corev1.PullPolicy(g.ImagePullPolicy),
		Command: []string{capturePath}, Args: args,
		Resources: s.resources, SecurityContext: unprivileged(0),
	}
	if g.Init.Image != "" {
		out.Image = s.values.image(g.Init.Image)
	}
	if g.Init.Resources != nil {
		out.Resources = *g.Init.Resources
	}
	out.SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN"}
	return out
}

// excludedInbound adds the agent's port, where it is not the usual one, which
// capture leaves alone by itself.
func (s *settings) excludedInbound() string {
	list := s.capture.excludeInboundPorts
	switch {
	case s.statusPort == defaultStatusPort:
		return list
	case list == "":
		return strconv.Itoa(int(s.statusPort))
	}
	return list + "," + strconv.Itoa(int(s.statusPort))
}
