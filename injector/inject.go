package injector

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Names in an injected pod, as Istio's.
const (
	proxyName = "istio-proxy"
	initName  = "istio-init"

	templatesAnnotation = "inject.istio.io/templates"
	statusAnnotation    = "sidecar.istio.io/status"
	overridesAnnotation = "proxy.istio.io/overrides"

	templateSidecar = "sidecar"
	templateGateway = "gateway"

	proxyUID int64 = 1337
)

// Inject returns pod with the proxy in it. An injected pod comes out as it went
// in; one to which others have added since comes out as if it had been injected
// after them. The argument is not changed. Whether the pod is to be injected at
// all is for Wanted.
//
// Errors say which annotation or field is at fault, and what to write instead;
// several are joined.
func Inject(pod *corev1.Pod, v Values) (*corev1.Pod, error) { return inject(pod, "", v) }

// inject is Inject; owner is the workload's name where the pod cannot tell it.
func inject(pod *corev1.Pod, owner string, v Values) (*corev1.Pod, error) {
	v = v.WithDefaults()
	out := pod.DeepCopy()
	if err := strip(out); err != nil {
		return nil, err
	}
	s, err := newSettings(out, v)
	if err != nil {
		return nil, err
	}
	s.owner = owner
	own, err := takeOverrides(out)
	if err != nil {
		return nil, err
	}
	if err := refuse(out, s, own); err != nil {
		return nil, err
	}
	before := names(out)
	s.probes = rewriteProbes(out, s)
	s.holdApps(out)
	if s.prometheus, err = mergePrometheus(out, s); err != nil {
		return nil, err
	}
	if err := s.addContainers(out, own); err != nil {
		return nil, err
	}
	s.addVolumes(out)
	s.addGRPC(out)
	s.addMetadata(out, own)
	for _, name := range s.overlays {
		patch, err := overlay(v.Templates[name])
		if err == nil {
			*out, err = merge(*out, patch)
		}
		if err != nil {
			return nil, fmt.Errorf("template %s of ConfigMap istio-sidecar-injector: %w", name, err)
		}
	}
	return out, s.addStatus(out, before)
}

// overrides are what the user wrote under the names of our own containers: it
// is laid over what we make.
type overrides struct {
	Containers     []corev1.Container `json:"containers,omitempty"`
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
}

func (o overrides) empty() bool { return len(o.Containers) == 0 && len(o.InitContainers) == 0 }

// of returns what was written under a name.
func (o overrides) of(name string) (corev1.Container, bool) {
	for _, list := range [][]corev1.Container{o.Containers, o.InitContainers} {
		if i := slices.IndexFunc(list, named(name)); i >= 0 {
			return list[i], true
		}
	}
	return corev1.Container{}, false
}

func named(name string) func(corev1.Container) bool {
	return func(c corev1.Container) bool { return c.Name == name }
}

func ours(c corev1.Container) bool { return c.Name == proxyName || c.Name == initName }

// takeOverrides takes the user's versions of our containers out of the pod.
// Without any, the annotation may have them, of an injection whose status was
// lost.
func takeOverrides(pod *corev1.Pod) (overrides, error) {
	var own overrides
	take := func(from []corev1.Container, into *[]corev1.Container) []corev1.Container {
		return slices.DeleteFunc(from, func(c corev1.Container) bool {
			if ours(c) {
				*into = append(*into, c)
			}
			return ours(c)
		})
	}
	pod.Spec.Containers = take(pod.Spec.Containers, &own.Containers)
	pod.Spec.InitContainers = take(pod.Spec.InitContainers, &own.InitContainers)
	if text := pod.Annotations[overridesAnnotation]; own.empty() && text != "" {
		return readOverrides(text)
	}
	return own, nil
}

func readOverrides(text string) (own overrides, err error) {
	if err := json.Unmarshal([]byte(text), &own); err != nil {
		return own, fmt.Errorf("pod annotation %s: %w: want JSON {\"containers\": [...]}; better leave it out and write a container named %s", overridesAnnotation, err, proxyName)
	}
	for _, c := range slices.Concat(own.Containers, own.InitContainers) {
		if !ours(c) {
			return own, fmt.Errorf("pod annotation %s: container %q: only %s and %s can be overridden", overridesAnnotation, c.Name, proxyName, initName)
		}
	}
	return own, nil
}

// refuse reports what would let traffic pass by the proxy, and what could not
// start.
func refuse(pod *corev1.Pod, s *settings, own overrides) error {
	var failed []error
	if pod.Spec.HostNetwork {
		failed = append(failed, errors.New("spec.hostNetwork: true: capture would redirect the node's own traffic; leave it out, or set label sidecar.istio.io/inject: \"false\""))
	}
	_, placed := own.of(proxyName)
	if s.gateway && !placed {
		failed = append(failed, fmt.Errorf("pod annotation %s: %s: the pod has no container named %s; add one with image: auto", templatesAnnotation, templateGateway, proxyName))
	}
	runAs := func(path string, c *int64) {
		if c != nil && *c == proxyUID && !s.gateway && !s.grpc {
			failed = append(failed, fmt.Errorf("%s.securityContext.runAsUser: %d is the proxy's own user, whose traffic is not captured: choose another", path, proxyUID))
		}
	}
	if c := pod.Spec.SecurityContext; c != nil {
		runAs("spec", c.RunAsUser)
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.SecurityContext != nil {
			runAs("container "+c.Name, c.SecurityContext.RunAsUser)
		}
	}
	return errors.Join(failed...)
}

// addContainers makes ours, lays the user's over them and puts them where they
// belong: native sidecars and capture before all else, so that the app's own
// init containers are in the mesh; classic ones so that those are before it.
func (s *settings) addContainers(pod *corev1.Pod, own overrides) error {
	proxy, err := laidOver(s.proxyContainer(), own)
	if err != nil {
		return err
	}
	var init []corev1.Container
	if s.capture != nil {
		c, err := laidOver(s.initContainer(), own)
		if err != nil {
			return err
		}
		init = append(init, c)
	}
	spec := &pod.Spec
	switch {
	case s.gateway:
		spec.Containers = append([]corev1.Container{proxy}, spec.Containers...)
	case s.native:
		spec.InitContainers = slices.Concat(init, []corev1.Container{proxy}, spec.InitContainers)
	case s.hold: // the kubelet starts containers in order, each after the postStart hook of the one before
		spec.InitContainers = append(spec.InitContainers, init...)
		spec.Containers = append([]corev1.Container{proxy}, spec.Containers...)
	default:
		spec.InitContainers = append(spec.InitContainers, init...)
		spec.Containers = append(spec.Containers, proxy)
	}
	return nil
}

// laidOver merges what the user wrote for a container over ours.
func laidOver(c corev1.Container, own overrides) (corev1.Container, error) {
	theirs, ok := own.of(c.Name)
	if !ok {
		return c, nil
	}
	if theirs.Image == "auto" {
		theirs.Image = ""
	}
	patch, err := json.Marshal(theirs)
	if err == nil {
		c, err = merge(c, patch)
	}
	if err != nil {
		return c, fmt.Errorf("container %s: %w", theirs.Name, err)
	}
	return c, nil
}

// present are the names of what a pod has.
type present struct{ init, containers, volumes, pullSecrets map[string]bool }

func names(pod *corev1.Pod) present {
	p := present{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, c := range pod.Spec.InitContainers {
		p.init[c.Name] = true
	}
	for _, c := range pod.Spec.Containers {
		p.containers[c.Name] = true
	}
	for _, v := range pod.Spec.Volumes {
		p.volumes[v.Name] = true
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		p.pullSecrets[s.Name] = true
	}
	return p
}

// status is annotation sidecar.istio.io/status: what injection added, by name.
// Source: Istio's SidecarInjectionStatus, which Kiali reads.
type status struct {
	InitContainers   []string `json:"initContainers"`
	Containers       []string `json:"containers"`
	Volumes          []string `json:"volumes"`
	ImagePullSecrets []string `json:"imagePullSecrets"`
	Revision         string   `json:"revision"`
}

func (s *settings) addStatus(pod *corev1.Pod, before present) error {
	st := status{Revision: s.values.Revision}
	for _, c := range pod.Spec.InitContainers {
		if !before.init[c.Name] {
			st.InitContainers = append(st.InitContainers, c.Name)
		}
	}
	for _, c := range pod.Spec.Containers {
		if !before.containers[c.Name] {
			st.Containers = append(st.Containers, c.Name)
		}
	}
	for _, v := range pod.Spec.Volumes {
		if !before.volumes[v.Name] {
			st.Volumes = append(st.Volumes, v.Name)
		}
	}
	for _, p := range pod.Spec.ImagePullSecrets {
		if !before.pullSecrets[p.Name] {
			st.ImagePullSecrets = append(st.ImagePullSecrets, p.Name)
		}
	}
	text, err := json.Marshal(st)
	pod.Annotations[statusAnnotation] = string(text)
	return err
}

// splitList reads a comma separated list, without empty items.
func splitList(text string) (out []string) {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
