package injector

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWanted(t *testing.T) {
	selector := func(key, value string) []metav1.LabelSelector {
		return []metav1.LabelSelector{{MatchLabels: map[string]string{key: value}}}
	}
	never := Policy{NeverInjectSelector: selector("app", "raw"), AlwaysInjectSelector: selector("app", "raw")}
	disabled := Policy{Policy: "disabled", AlwaysInjectSelector: selector("app", "in")}
	for name, c := range map[string]struct {
		policy    Policy
		namespace string
		pod       func(*corev1.Pod)
		want      bool
	}{
		"nothing said":             {want: true},
		"label true":               {disabled, "", func(p *corev1.Pod) { p.Labels[injectKey] = "true" }, true},
		"label false":              {pod: func(p *corev1.Pod) { p.Labels[injectKey] = "false" }},
		"annotation false":         {pod: func(p *corev1.Pod) { p.Annotations[injectKey] = "no" }},
		"the label wins":           {pod: func(p *corev1.Pod) { p.Labels[injectKey], p.Annotations[injectKey] = "true", "false" }, want: true},
		"never beats always":       {policy: never, pod: func(p *corev1.Pod) { p.Labels["app"] = "raw" }},
		"the pod beats never":      {never, "", func(p *corev1.Pod) { p.Labels["app"], p.Labels[injectKey] = "raw", "true" }, true},
		"policy disabled":          {policy: disabled},
		"always beats the policy":  {disabled, "", func(p *corev1.Pod) { p.Labels["app"] = "in" }, true},
		"host network":             {pod: func(p *corev1.Pod) { p.Spec.HostNetwork, p.Labels[injectKey] = true, "true" }},
		"kube-system":              {namespace: "kube-system", pod: func(p *corev1.Pod) { p.Labels[injectKey] = "true" }},
		"the control plane itself": {namespace: "weft-system", pod: func(p *corev1.Pod) { p.Labels[injectKey] = "true" }},
		"Windows":                  {pod: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }},
		"Windows by node":          {pod: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"} }},
	} {
		p := podWith(map[string]string{})
		p.Labels = map[string]string{}
		if c.pod != nil {
			c.pod(p)
		}
		if c.namespace == "" {
			c.namespace = "shop"
		}
		got, why, err := Wanted(p, c.namespace, Values{Policy: c.policy})
		if err != nil || got != c.want || !got == (why == "") {
			t.Errorf("%s: %t %q %v", name, got, why, err)
		}
	}
	p := podWith(map[string]string{injectKey: "maybe"})
	if _, _, err := Wanted(p, "shop", Values{}); err == nil || !strings.Contains(err.Error(), injectKey) {
		t.Errorf("a label that cannot be read: %v", err)
	}
}
