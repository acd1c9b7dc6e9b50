package injector

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// tokenSeconds is the life of the token that proves the pod to the CA; the
// kubelet renews it at four fifths.
const tokenSeconds = 43200

// tokenAudience keeps the token from being used for the API server, and other
// tokens from being used for the CA.
const tokenAudience = "istio-ca"

// rootsConfigMap is written into every namespace by the CA.
const rootsConfigMap = "istio-ca-root-cert"

func mounts() []corev1.VolumeMount {
	return []corev1.VolumeMount{
		{Name: "istiod-ca-cert", MountPath: rootsDir, ReadOnly: true},
		{Name: agentVolume, MountPath: proxyDir},
		{Name: "istio-token", MountPath: tokenDir, ReadOnly: true},
		{Name: "istio-podinfo", MountPath: podInfoDir, ReadOnly: true},
	}
}

func (s *settings) addVolumes(pod *corev1.Pod) {
	for _, v := range append(volumes(), s.volumes...) {
		has := func(have corev1.Volume) bool { return have.Name == v.Name }
		if !slices.ContainsFunc(pod.Spec.Volumes, has) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, v)
		}
	}
	for _, name := range s.values.Global.ImagePullSecrets {
		secret := corev1.LocalObjectReference{Name: name}
		if !slices.Contains(pod.Spec.ImagePullSecrets, secret) {
			pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, secret)
		}
	}
	if s.gateway {
		allowLowPorts(pod)
	}
}

func volumes() []corev1.Volume {
	seconds := int64(tokenSeconds)
	label := func(path, field string) corev1.DownwardAPIVolumeFile {
		return corev1.DownwardAPIVolumeFile{Path: path, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: field}}
	}
	return []corev1.Volume{
		{Name: agentVolume, VolumeSource: corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		{Name: "istio-token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: tokenAudience, ExpirationSeconds: &seconds, Path: "istio-token"}}}}}},
		{Name: "istiod-ca-cert", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: rootsConfigMap}}}},
		{Name: "istio-podinfo", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{label("labels", "metadata.labels"), label("annotations", "metadata.annotations")}}}},
	}
}

// allowLowPorts lets a gateway open port 80 as an ordinary user: the sysctl is
// of the pod's own network, and among those that any pod may set.
func allowLowPorts(pod *corev1.Pod) {
	const name = "net.ipv4.ip_unprivileged_port_start"
	if pod.Spec.SecurityContext == nil {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	sc := pod.Spec.SecurityContext
	if !slices.ContainsFunc(sc.Sysctls, func(s corev1.Sysctl) bool { return s.Name == name }) {
		sc.Sysctls = append(sc.Sysctls, corev1.Sysctl{Name: name, Value: "0"})
	}
}
