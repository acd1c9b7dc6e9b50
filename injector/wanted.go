package injector

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Names on pods and namespaces that decide about injection, as Istio's.
const (
	injectKey       = "sidecar.istio.io/inject" // pod label or annotation; the label wins
	revisionLabel   = "istio.io/rev"            // of a pod or namespace
	injectionLabel  = "istio-injection"         // of a namespace: enabled or disabled
	hostNameLabel   = "kubernetes.io/metadata.name"
	partOfLabel     = "app.kubernetes.io/part-of"
	partOf          = "weft"
	operatingSystem = "kubernetes.io/os"
)

// Policy decides about pods that say nothing themselves. The zero value
// injects them.
//
// Source: Istio's ConfigMap istio-sidecar-injector.
type Policy struct {
	Policy               string                 `json:"policy"` // enabled (also "") or disabled
	AlwaysInjectSelector []metav1.LabelSelector `json:"alwaysInjectSelector"`
	NeverInjectSelector  []metav1.LabelSelector `json:"neverInjectSelector"`
	InjectedAnnotations  map[string]string      `json:"injectedAnnotations"`
}

func (p Policy) check() error {
	if p.Policy != "" && p.Policy != "enabled" && p.Policy != "disabled" {
		return fmt.Errorf("policy: %q: want enabled or disabled", p.Policy)
	}
	for name, list := range map[string][]metav1.LabelSelector{"alwaysInjectSelector": p.AlwaysInjectSelector, "neverInjectSelector": p.NeverInjectSelector} {
		for i := range list {
			if _, err := metav1.LabelSelectorAsSelector(&list[i]); err != nil {
				return fmt.Errorf("%s[%d]: %w", name, i, err)
			}
		}
	}
	return nil
}

// systemNamespaces are never injected, whatever labels say: what runs there is
// needed to start anything else.
var systemNamespaces = []string{"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}

// Wanted reports whether a pod of that namespace is to be injected once the API
// server has sent it here, which the webhook's selectors decide (Webhooks); and
// if not, why. An error says that the pod's label or annotation cannot be read.
func Wanted(pod *corev1.Pod, namespace string, v Values) (wanted bool, why string, err error) {
	v = v.WithDefaults()
	switch {
	case pod.Spec.HostNetwork:
		return false, "it uses the node's network (hostNetwork: true), which capture must not touch", nil
	case slices.Contains(systemNamespaces, namespace) || namespace == v.Global.Namespace && v.Scope != "namespace":
		return false, "namespace " + namespace + " is never injected", nil
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows || pod.Spec.NodeSelector[operatingSystem] == string(corev1.Windows):
		return false, "it runs on Windows", nil
	}
	said, found, err := saysItself(pod)
	switch {
	case err != nil:
		return false, "", err
	case found && !said:
		return false, injectKey + " says so", nil
	case found:
		return true, "", nil
	case matches(v.Policy.NeverInjectSelector, pod.Labels):
		return false, "neverInjectSelector matches its labels", nil
	case matches(v.Policy.AlwaysInjectSelector, pod.Labels), v.Policy.Policy != "disabled":
		return true, "", nil
	}
	return false, "the policy is to inject only pods that ask for it", nil
}

// saysItself reads what the pod says: the label, else the annotation.
func saysItself(pod *corev1.Pod) (inject, found bool, err error) {
	text, found := pod.Labels[injectKey]
	where := "label"
	if !found {
		text, found = pod.Annotations[injectKey]
		where = "annotation"
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "y", "yes", "on":
		return true, true, nil
	case "false", "n", "no", "off":
		return false, true, nil
	case "":
		return false, false, nil
	}
	return false, found, fmt.Errorf("pod %s %s: %q: want \"true\" or \"false\"", where, injectKey, text)
}

// matches reports whether one of the selectors takes these labels. They were
// checked by Policy.check; one that is wrong takes none.
func matches(list []metav1.LabelSelector, of map[string]string) bool {
	for i := range list {
		s, err := metav1.LabelSelectorAsSelector(&list[i])
		if err == nil && !s.Empty() && s.Matches(labels.Set(of)) {
			return true
		}
	}
	return false
}
