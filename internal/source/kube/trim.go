package kube

import (
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// reader makes an object of what the API server sent. A nil object with
// findings: it cannot be read; with none: it is of no interest.
type reader func(runtime.Object) (*config.Object, []diag.Diagnostic)

// trimmer keeps of Kubernetes' own objects what the pipeline reads. Texts that
// many objects share are kept once.
type trimmer struct {
	mu    sync.Mutex
	texts map[string]string
}

func newTrimmer() *trimmer { return &trimmer{texts: map[string]string{}} }

// maxTexts bounds the shared texts; beyond it, sharing begins anew.
const maxTexts = 1 << 15

func (t *trimmer) share(text string) string {
	if text == "" {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.texts[text]; ok {
		return known
	}
	if len(t.texts) >= maxTexts {
		clear(t.texts)
	}
	t.texts[text] = text
	return text
}

func (t *trimmer) shareAll(in map[string]string) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[t.share(k)] = t.share(v)
	}
	return out
}

// read trims an object of a kind that is followed.
func (t *trimmer) read(in runtime.Object) (*config.Object, []diag.Diagnostic) {
	switch o := in.(type) {
	case *corev1.Service:
		return t.service(o), nil
	case *corev1.Pod:
		return t.pod(o), nil
	case *discoveryv1.EndpointSlice:
		return t.slice(o), nil
	case *corev1.Node:
		return t.plain(config.Node, &o.ObjectMeta, &corev1.Node{}), nil
	case *corev1.Namespace:
		return t.plain(config.Namespace, &o.ObjectMeta, &corev1.Namespace{}), nil
	case *corev1.Secret:
		return t.secret(o), nil
	}
	return nil, nil
}

// object holds what every kind keeps of its metadata.
func (t *trimmer) object(k config.Kind, m *metav1.ObjectMeta) *config.Object {
	return &config.Object{Kind: k, Namespace: t.share(m.Namespace), Name: m.Name, Created: m.CreationTimestamp.Time}
}

// plain keeps labels, by which a Node says where it stands, and settings.
func (t *trimmer) plain(k config.Kind, m *metav1.ObjectMeta, spec any) *config.Object {
	o := t.object(k, m)
	o.Labels, o.Spec = t.shareAll(m.Labels), spec
	if a := kept(m.Annotations); len(a) > 0 && k == config.Namespace {
		o.Annotations = t.shareAll(a)
	}
	return o
}

func (t *trimmer) service(in *corev1.Service) *config.Object {
	o := t.object(config.Service, &in.ObjectMeta)
	o.Labels, o.UID = t.shareAll(in.Labels), string(in.UID)
	o.Annotations = t.shareAll(kept(in.Annotations))
	out := &corev1.Service{Spec: corev1.ServiceSpec{
		Type: in.Spec.Type, Selector: t.shareAll(in.Spec.Selector),
		ClusterIP: in.Spec.ClusterIP, ClusterIPs: slices.Clone(in.Spec.ClusterIPs), ExternalName: in.Spec.ExternalName,
		TrafficDistribution: in.Spec.TrafficDistribution,
	}}
	for i := range in.Spec.Ports {
		p := &in.Spec.Ports[i]
		out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{
			Name: t.share(p.Name), Protocol: p.Protocol, AppProtocol: p.AppProtocol, Port: p.Port, TargetPort: p.TargetPort, NodePort: p.NodePort,
		})
	}
	o.Spec = out
	return o
}

// keptPrefixes are those of the annotations that the mesh may read; others
// (deployment tools', kubectl's) are large and change for no reason of ours.
var keptPrefixes = []string{"networking.istio.io/", "sidecar.istio.io/", "traffic.istio.io/", "traffic.sidecar.istio.io/", "inject.istio.io/", "istio.io/", "proxy.istio.io/", "weft.mesh/"}

func kept(in map[string]string) map[string]string {
	out := maps.Clone(in)
	maps.DeleteFunc(out, func(key, _ string) bool {
		return !slices.ContainsFunc(keptPrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	})
	return out
}

// pod keeps who a pod is, where it runs, its owner, its named ports, and that it
// is not ready.
func (t *trimmer) pod(in *corev1.Pod) *config.Object {
	o := t.object(config.Pod, &in.ObjectMeta)
	o.Labels, o.Annotations = t.shareAll(in.Labels), t.shareAll(kept(in.Annotations))
	out := &corev1.Pod{
		Spec:   corev1.PodSpec{ServiceAccountName: t.share(in.Spec.ServiceAccountName), NodeName: t.share(in.Spec.NodeName)},
		Status: corev1.PodStatus{Phase: phase(in.Status.Phase), PodIP: in.Status.PodIP, Conditions: notReady(in.Status.Conditions)},
	}
	if len(in.Status.PodIPs) > 1 {
		out.Status.PodIPs = slices.Clone(in.Status.PodIPs)
	}
	for i := range in.OwnerReferences {
		if r := &in.OwnerReferences[i]; r.Controller != nil && *r.Controller {
			out.OwnerReferences = []metav1.OwnerReference{{Kind: t.share(r.Kind), Name: t.share(r.Name), Controller: &yes}}
		}
	}
	out.Spec.Containers, out.Spec.InitContainers = t.ports(in.Spec.Containers), t.ports(in.Spec.InitContainers)
	o.Spec = out
	return o
}

// notReady keeps that a pod is not ready: ServiceEntries that select it want to
// know. One that is has no condition.
func notReady(in []corev1.PodCondition) []corev1.PodCondition {
	for i := range in {
		if in[i].Type == corev1.PodReady && in[i].Status == corev1.ConditionFalse {
			return unready
		}
	}
	return nil
}

var unready = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}

// phase tells pods that have ended from others; among these no one asks.
func phase(p corev1.PodPhase) corev1.PodPhase {
	switch p {
	case corev1.PodSucceeded, corev1.PodFailed:
		return p
	}
	return corev1.PodRunning
}

// ports keeps the named ports of containers; no name, no container.
func (t *trimmer) ports(in []corev1.Container) (out []corev1.Container) {
	var all []corev1.ContainerPort
	for i := range in {
		for _, p := range in[i].Ports {
			if p.Name != "" && p.Protocol != corev1.ProtocolUDP {
				all = append(all, corev1.ContainerPort{Name: t.share(p.Name), ContainerPort: p.ContainerPort})
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return []corev1.Container{{Ports: all}}
}

var yes, no = true, false

// flag keeps a condition without memory of its own.
func flag(b *bool) *bool {
	switch {
	case b == nil:
		return nil
	case *b:
		return &yes
	}
	return &no
}

func (t *trimmer) slice(in *discoveryv1.EndpointSlice) *config.Object {
	o := t.object(config.EndpointSlice, &in.ObjectMeta)
	if name := in.Labels[discoveryv1.LabelServiceName]; name != "" {
		o.Labels = map[string]string{discoveryv1.LabelServiceName: t.share(name)}
	}
	out := &discoveryv1.EndpointSlice{AddressType: in.AddressType}
	for i := range in.Ports {
		p := in.Ports[i]
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
	}
	out.Endpoints = make([]discoveryv1.Endpoint, len(in.Endpoints))
	for i := range in.Endpoints {
		e := &in.Endpoints[i]
		out.Endpoints[i] = discoveryv1.Endpoint{
			Addresses:  e.Addresses,
			Conditions: discoveryv1.EndpointConditions{Ready: flag(e.Conditions.Ready), Serving: flag(e.Conditions.Serving), Terminating: flag(e.Conditions.Terminating)},
			Zone:       t.zone(e.Zone),
		}
		if r := e.TargetRef; r != nil && r.Kind == "Pod" {
			out.Endpoints[i].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: r.Name}
		}
	}
	o.Spec = out
	return o
}

func (t *trimmer) zone(z *string) *string {
	if z == nil {
		return nil
	}
	shared := t.share(*z)
	return &shared
}

// credentialKeys are those of Istio's two layouts of a TLS Secret.
var credentialKeys = []string{"tls.crt", "tls.key", "ca.crt", "cert", "key", "cacert"}

func (t *trimmer) secret(in *corev1.Secret) *config.Object {
	o := t.object(config.Secret, &in.ObjectMeta)
	out := &corev1.Secret{}
	for _, key := range credentialKeys {
		if v, ok := in.Data[key]; ok {
			if out.Data == nil {
				out.Data = map[string][]byte{}
			}
			out.Data[key] = v
		}
	}
	o.Spec = out
	return o
}
