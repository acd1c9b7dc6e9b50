package injector

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
)

// templateGRPC is an agent without Envoy, for apps whose gRPC library speaks
// xDS. Nothing is captured: they open mutual TLS themselves.
const templateGRPC = config.GRPCAgent

// What the apps find of the agent: where their bootstrap is (gRFC A27), and that
// they are to name the host when they open TLS (gRFC A101), by which sidecars
// know mesh mTLS.
const (
	bootstrapVariable = "GRPC_XDS_BOOTSTRAP"
	namingVariable    = "GRPC_EXPERIMENTAL_XDS_SNI"

	bootstrapPath = proxyDir + "/run/grpc-bootstrap.json"
)

// agentVolume is where the agent writes, and the apps read.
const agentVolume = "istio-envoy"

// addGRPC shows the apps what the agent writes. They may be of any user: all of
// the pod's containers get the agent's group, which, unlike fsGroup, changes the
// owner of no other volume.
func (s *settings) addGRPC(pod *corev1.Pod) {
	if !s.grpc {
		return
	}
	for i := range pod.Spec.Containers {
		introduce(&pod.Spec.Containers[i])
	}
	if s.native { // else they end before the agent starts
		for i := range pod.Spec.InitContainers {
			introduce(&pod.Spec.InitContainers[i])
		}
	}
	if pod.Spec.SecurityContext == nil {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if sc := pod.Spec.SecurityContext; !slices.Contains(sc.SupplementalGroups, proxyUID) {
		sc.SupplementalGroups = append(sc.SupplementalGroups, proxyUID)
	}
}

// introduce gives one container what it does not say itself.
func introduce(c *corev1.Container) {
	if ours(*c) {
		return
	}
	for _, v := range []corev1.EnvVar{{Name: bootstrapVariable, Value: bootstrapPath}, {Name: namingVariable, Value: "true"}} {
		if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == v.Name }) {
			c.Env = append(c.Env, v)
		}
	}
	if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == proxyDir }) {
		c.VolumeMounts = append(c.VolumeMounts, appMount)
	}
}

var appMount = corev1.VolumeMount{Name: agentVolume, MountPath: proxyDir, ReadOnly: true}

// disconnectApps undoes addGRPC but for the group, which does no harm.
func disconnectApps(pod *corev1.Pod) {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if ours(*c) {
				continue
			}
			if at := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == agentVolume && m.MountPath == proxyDir }); at >= 0 {
				c.VolumeMounts = slices.Delete(c.VolumeMounts, at, at+1)
			}
			at := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == bootstrapVariable && e.Value == bootstrapPath })
			if at < 0 {
				continue
			}
			end := at + 1
			if end < len(c.Env) && c.Env[end].Name == namingVariable {
				end++ // added after it
			}
			c.Env = slices.Delete(c.Env, at, end)
		}
	}
}
