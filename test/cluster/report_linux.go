package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reportLines are the last ones of a container's log in a Report.
const reportLines = 20

// Report is what one wants to know of a cluster in which a test failed: pods,
// warnings, and the last lines of containers that are not ready.
func (c *Cluster) Report(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := c.Clientset()
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Sprintf("cluster %s: %v%s", c.Name(), err, layout{dir: c.plan.Dir}.tails())
	}
	for _, p := range pods.Items {
		fmt.Fprintf(&out, "pod %s/%s on %s: %s\n", p.Namespace, p.Name, p.Spec.NodeName, p.Status.Phase)
		for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			if s.Ready || s.State.Terminated != nil && s.State.Terminated.ExitCode == 0 {
				continue
			}
			out.WriteString(c.container(ctx, p, s))
		}
	}
	events, err := client.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return out.String() + err.Error()
	}
	for _, e := range events.Items {
		if mended(pods.Items, e) {
			continue
		}
		fmt.Fprintf(&out, "warning: %s %s/%s: %s: %s\n", e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	return out.String()
}

// mended tells whether what a warning complains of is a start that is over: its
// pod has been Ready ever since, or is gone.
func mended(pods []corev1.Pod, e corev1.Event) bool {
	if e.InvolvedObject.Kind != "Pod" || e.Reason != "Unhealthy" && e.Reason != "FailedMount" {
		return false
	}
	for _, p := range pods {
		if p.UID != e.InvolvedObject.UID {
			continue
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady {
				return c.Status == corev1.ConditionTrue && !e.LastTimestamp.After(c.LastTransitionTime.Time)
			}
		}
		return false
	}
	return true
}

// container says what one that is not ready waits for or died of.
func (c *Cluster) container(ctx context.Context, p corev1.Pod, s corev1.ContainerStatus) string {
	text := fmt.Sprintf("  container %s, %d restarts: ", s.Name, s.RestartCount)
	switch {
	case s.State.Waiting != nil:
		text += s.State.Waiting.Reason + " " + s.State.Waiting.Message
	case s.State.Terminated != nil:
		text += fmt.Sprintf("exit %d %s", s.State.Terminated.ExitCode, s.State.Terminated.Message)
	default:
		text += "not ready"
	}
	tail := int64(reportLines)
	client, err := c.Clientset()
	if err != nil {
		return text + "\n"
	}
	options := &corev1.PodLogOptions{Container: s.Name, TailLines: &tail, Previous: s.State.Waiting != nil && s.RestartCount > 0}
	log, err := client.CoreV1().Pods(p.Namespace).GetLogs(p.Name, options).DoRaw(ctx)
	if err != nil {
		return text + "\n" // it has not started
	}
	return text + "\n    " + strings.ReplaceAll(strings.TrimSpace(string(log)), "\n", "\n    ") + "\n"
}
