package injector

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// strip takes an earlier injection out of a pod, so that Inject always starts
// from what the user and other webhooks wrote. A pod without the status
// annotation is left as it is.
//
// The pod's owner may have written the status, and may so make it remove what
// is the owner's anyway; what is ours is made anew, whatever the status says.
func strip(pod *corev1.Pod) error {
	text := pod.Annotations[statusAnnotation]
	if text == "" {
		return nil
	}
	var st status
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		return fmt.Errorf("pod annotation %s: %w: it is the injector's own; leave it out", statusAnnotation, err)
	}
	own, err := readOverrides(orNothing(pod.Annotations[overridesAnnotation]))
	if err != nil {
		return err
	}
	releaseApps(pod)
	disconnectApps(pod)
	if proxy := findProxy(pod); proxy != nil {
		restoreProbes(pod, proxy)
		restorePrometheus(pod, proxy)
	}
	spec := &pod.Spec
	spec.InitContainers = append(without(spec.InitContainers, st.InitContainers), own.InitContainers...)
	spec.Containers = append(own.Containers, without(spec.Containers, st.Containers)...)
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v corev1.Volume) bool { return slices.Contains(st.Volumes, v.Name) })
	spec.ImagePullSecrets = slices.DeleteFunc(spec.ImagePullSecrets, func(r corev1.LocalObjectReference) bool {
		return slices.Contains(st.ImagePullSecrets, r.Name)
	})
	pod.Annotations = maps.Clone(pod.Annotations)
	for _, name := range []string{statusAnnotation, overridesAnnotation} {
		delete(pod.Annotations, name)
	}
	return nil
}

func orNothing(text string) string {
	if text == "" {
		return "{}"
	}
	return text
}

func without(list []corev1.Container, names []string) []corev1.Container {
	return slices.DeleteFunc(list, func(c corev1.Container) bool { return ours(c) || slices.Contains(names, c.Name) })
}

// findProxy is our container, wherever it is; nil without one.
func findProxy(pod *corev1.Pod) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		if i := slices.IndexFunc(list, named(proxyName)); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// variable is the literal value of a container's environment variable.
func variable(c *corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}
