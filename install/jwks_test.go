package install

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// The values for keys reach the pilot's flags, and its roots a file.
func TestKeysOfTokens(t *testing.T) {
	const name = DefaultNamespace + "/weft-pilot"
	plain := rendered(t, Inputs{Profile: "default"})
	pod := object[appsv1.Deployment](t, plain, "Deployment "+name).Spec.Template
	if args := pod.Spec.Containers[0].Args; !slices.Contains(args, "--jwks-refresh=20m") || slices.Contains(titles(plain.Objects), "ConfigMap "+name+"-jwks") {
		t.Errorf("by default: %v", args)
	}
	m := rendered(t, Inputs{Profile: "default", Sets: []string{"pilot.jwksAllow={127.0.0.1/32,169.254.7.0/24},pilot.jwksRefresh=1m30s,pilot.jwksResolverExtraRootCA=PEM"}})
	pod = object[appsv1.Deployment](t, m, "Deployment "+name).Spec.Template
	for _, arg := range []string{"--jwks-refresh=1m30s", "--jwks-allow=127.0.0.1/32,169.254.7.0/24", "--jwks-roots=/etc/weft/jwks/roots.pem"} {
		if !slices.Contains(pod.Spec.Containers[0].Args, arg) {
			t.Errorf("there is no %s in %v", arg, pod.Spec.Containers[0].Args)
		}
	}
	roots := object[corev1.ConfigMap](t, m, "ConfigMap "+name+"-jwks")
	mounted := slices.ContainsFunc(pod.Spec.Containers[0].VolumeMounts, func(v corev1.VolumeMount) bool { return v.Name == "jwks-roots" && v.MountPath == "/etc/weft/jwks" })
	if roots.Data["roots.pem"] != "PEM" || !mounted || pod.Annotations["weft.mesh/jwks-roots"] == "" {
		t.Errorf("the roots do not reach the pod, or change nothing in it: %v", roots.Data)
	}
}
