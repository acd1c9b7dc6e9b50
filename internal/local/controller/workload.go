package controller

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// workloadLabel names the Deployment on its pods; a label of ours, so that it
// changes no selector.
const workloadLabel = "weft.mesh/workload"

const hashLabel = "pod-template-hash"

// nameLetters are those of Kubernetes' generated names: no vowels, so no words.
const nameLetters = "bcdfghjklmnpqrstvwxz2456789"

func suffix(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	for i := range raw {
		raw[i] = nameLetters[int(raw[i])%len(nameLetters)]
	}
	return string(raw)
}

// pod is a new pod of the workload, as an API server would hold it.
func (w *workload) pod(addrs []netip.Addr) *corev1.Pod {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	controlled := true
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: w.name + "-" + suffix(5), UID: types.UID(hex.EncodeToString(raw)),
			Labels: maps.Clone(w.template.Labels), Annotations: maps.Clone(w.template.Annotations),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: w.name + "-" + w.hash, Controller: &controlled}},
		},
		Spec: *w.template.Spec.DeepCopy(),
	}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Labels[hashLabel], p.Labels[workloadLabel] = w.hash, w.name
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = "default"
	}
	p.Spec.NodeName = "local"
	for _, a := range addrs {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	p.Status.PodIP, p.Status.Phase = addrs[0].String(), corev1.PodRunning
	if w.role == roleMachine || w.role == roleApp && injected(&w.template) {
		p.Annotations[statusAnnotation] = fmt.Sprintf(`{"initContainers":[%q],"containers":[]}`, proxyProcess)
	}
	return p
}

func (w *workload) newRunner(c *Controller, p *corev1.Pod) *runner {
	return &runner{
		mesh: c.mesh, spec: p, role: w.role, hash: w.hash, log: c.log, wake: c.wake, born: time.Now(),
		grace: time.Duration(grace(p)) * time.Second,
		ready: map[string]bool{}, ends: map[string]int{}, reason: "starting",
	}
}

func (r *runner) workload() string { return r.spec.Namespace + "/" + workloadName(r.spec) }
