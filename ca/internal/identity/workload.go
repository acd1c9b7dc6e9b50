package identity

import (
	"cmp"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels by which controllers mark the pods of one revision.
const (
	deploymentHash = "pod-template-hash"
	rolloutHash    = "rollouts-pod-template-hash" // Argo Rollouts
)

// cronJobName takes the scheduled time off the name that the CronJob
// controller gives its Jobs.
var cronJobName = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// workloadOf is the name of what the user wrote for pod, as Istio derives it: a
// ReplicaSet stands for its Deployment or Rollout, a CronJob's Job for the
// CronJob, and a pod without controller for itself.
func workloadOf(pod *corev1.Pod) string {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return pod.Name
	}
	switch owner.Kind {
	case "ReplicaSet":
		for _, label := range []string{rolloutHash, deploymentHash} {
			if name, ok := cutHash(owner.Name, pod.Labels[label]); ok {
				return name
			}
		}
	case "Job":
		if found := cronJobName.FindStringSubmatch(owner.Name); found != nil {
			return found[1]
		}
	}
	return owner.Name
}

func cutHash(name, hash string) (string, bool) {
	if hash == "" {
		return "", false
	}
	return strings.CutSuffix(name, "-"+hash)
}

// canonical are the app and version by which telemetry knows a pod: the first
// label found of Istio's lists, else the workload and "latest".
func canonical(labels map[string]string, workload string) (app, version string) {
	app = cmp.Or(labels["service.istio.io/canonical-name"], labels["app.kubernetes.io/name"], labels["app"], workload)
	version = cmp.Or(labels["service.istio.io/canonical-revision"], labels["app.kubernetes.io/version"], labels["version"], "latest")
	return app, version
}
