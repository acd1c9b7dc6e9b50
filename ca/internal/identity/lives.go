package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Lives reports whether a pod, or the WorkloadEntry of a process outside, is there
// and has not ended. An error says that the API server does not tell.
func (k *Kube) Lives(ctx context.Context, namespace string, p Pod) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, kubeTimeout)
	defer cancel()
	pod, err := k.api.CoreV1().Pods(namespace).Get(ctx, p.Name, metav1.GetOptions{})
	switch {
	case err == nil && string(pod.UID) == p.UID:
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		return !ended && !overdue(pod.DeletionTimestamp, time.Now()), nil
	case err != nil && !apierrors.IsNotFound(err):
		return false, away(fmt.Sprintf("read pod %s/%s", namespace, p.Name), err)
	}
	raw, err := k.api.Discovery().RESTClient().Get().AbsPath(fmt.Sprintf(entryPath, namespace, p.Name)).DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	var e entry
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	if err != nil {
		return false, away(fmt.Sprintf("read WorkloadEntry %s/%s", namespace, p.Name), err)
	}
	return string(e.UID) == p.UID && !overdue(e.DeletionTimestamp, time.Now()), nil
}
