package injector

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	meshapi "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// settings are all that one pod's injection depends on: the values, with what
// the pod's annotations overrule.
type settings struct {
	values   Values
	proxy    *meshapi.ProxyConfig
	pod      *corev1.Pod // as its user wrote it; read only
	owner    string      // name of the workload, where the pod cannot tell it
	gateway  bool
	grpc     bool // an agent without Envoy: templateGRPC
	native   bool
	hold     bool
	overlays []string // names of custom templates, in order

	image                                   string
	resources                               corev1.ResourceRequirements
	logLevel, componentLogLevel, agentLevel string
	concurrency                             int32
	dns                                     bool
	statusPort                              int32
	readiness                               readiness
	capture                                 *captureSettings // nil: no capture
	rewrite                                 bool             // of probes
	stopAfterDrain                          bool             // of the app: see holdApps
	mergeMetrics                            bool
	drain                                   time.Duration // 0: the agent's default
	volumes                                 []corev1.Volume
	mounts                                  []corev1.VolumeMount

	probes     string // ISTIO_KUBE_APP_PROBERS
	prometheus string // ISTIO_PROMETHEUS_ANNOTATIONS
}

// readiness is the timing of the proxy's readiness probe, in seconds.
type readiness struct{ delay, period, failures int32 }

// captureSettings have the form of the capture program's flags.
type captureSettings struct {
	inboundPorts, excludeInboundPorts     string
	outboundPorts, excludeOutboundPorts   string
	outboundRanges, excludeOutboundRanges string
	excludeInterfaces, rerouteInterfaces  string
}

// defaultStatusPort is the agent's, 15020 as in Istio.
const defaultStatusPort = 15020

// newSettings reads everything that the pod's annotations say.
func newSettings(pod *corev1.Pod, v Values) (*settings, error) {
	s := fromValues(v)
	s.pod = pod
	failed := []error{s.readTemplates()}
	var err error
	s.proxy, err = effectiveProxy(v, pod)
	failed = append(failed, err, s.applyProxyConfig())
	for _, name := range slices.Sorted(maps.Keys(pod.Annotations)) {
		if err := s.apply(name, pod.Annotations[name]); err != nil {
			failed = append(failed, fmt.Errorf("pod annotation %s: %q: %w", name, pod.Annotations[name], err))
		}
	}
	failed = append(failed, s.settleResources())
	s.fitDrain()
	if s.gateway || s.grpc {
		s.capture, s.rewrite = nil, false
	}
	// Without its bootstrap an app whose library speaks xDS ends at once.
	s.hold = s.hold || s.grpc
	return s, errors.Join(failed...)
}

// defaultDrain is the agent's --drain-duration.
const defaultDrain = 20 * time.Second

// fitDrain makes the drain fit into the time that the pod has to end: else its
// app, which is held for up to half of the drain, would be killed instead.
func (s *settings) fitDrain() {
	grace := s.pod.Spec.TerminationGracePeriodSeconds
	if grace == nil {
		return // 30 s
	}
	if has := time.Duration(max(*grace, 1)) * time.Second; has < cmp.Or(s.drain, defaultDrain) {
		s.drain = has
	}
}

func fromValues(v Values) *settings {
	p := v.Global.Proxy
	return &settings{
		values: v, native: v.NativeSidecars, hold: p.HoldApplication,
		image: v.image(p.Image), resources: *p.Resources,
		logLevel: p.LogLevel, componentLogLevel: p.ComponentLogLevel, agentLevel: p.AgentLogLevel,
		concurrency: 2, dns: true, statusPort: defaultStatusPort,
		readiness: readiness{delay: p.ReadinessDelay, period: p.ReadinessPeriod, failures: p.ReadinessFailures},
		capture: &captureSettings{
			inboundPorts: p.IncludeInboundPorts, excludeInboundPorts: p.ExcludeInboundPorts,
			outboundPorts: p.IncludeOutboundPorts, excludeOutboundPorts: p.ExcludeOutboundPorts,
			outboundRanges: p.IncludeIPRanges, excludeOutboundRanges: p.ExcludeIPRanges,
		},
		rewrite:      v.Webhook.RewriteAppHTTPProbe == nil || *v.Webhook.RewriteAppHTTPProbe,
		mergeMetrics: true, stopAfterDrain: true,
	}
}

// readTemplates reads inject.istio.io/templates: one of the built-in ones, and
// any of the custom ones. Custom ones alone are laid over the sidecar's.
func (s *settings) readTemplates() error {
	list := splitList(s.pod.Annotations[templatesAnnotation])
	sidecar := false
	for _, name := range list {
		_, custom := s.values.Templates[name]
		switch {
		case name == templateSidecar:
			sidecar = true
		case name == templateGateway:
			s.gateway = true
		case name == templateGRPC:
			s.grpc = true
		case custom:
			s.overlays = append(s.overlays, name)
		default:
			known := append([]string{templateSidecar, templateGateway, templateGRPC}, slices.Sorted(maps.Keys(s.values.Templates))...)
			return fmt.Errorf("pod annotation %s: no template %q; there are %s", templatesAnnotation, name, strings.Join(known, ", "))
		}
	}
	if sidecar && s.gateway || s.grpc && (sidecar || s.gateway) {
		return fmt.Errorf("pod annotation %s: a pod is a %s or has a %s or a %s, not two of them", templatesAnnotation, templateGateway, templateSidecar, templateGRPC)
	}
	return nil
}

// settleResources makes the resources whole: as in Istio, a pod that says any
// of the four gets only what it says.
func (s *settings) settleResources() error {
	said := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	var failed []error
	any := false
	for _, r := range []struct {
		annotation string
		into       corev1.ResourceList
		name       corev1.ResourceName
	}{
		{"sidecar.istio.io/proxyCPU", said.Requests, corev1.ResourceCPU},
		{"sidecar.istio.io/proxyMemory", said.Requests, corev1.ResourceMemory},
		{"sidecar.istio.io/proxyCPULimit", said.Limits, corev1.ResourceCPU},
		{"sidecar.istio.io/proxyMemoryLimit", said.Limits, corev1.ResourceMemory},
	} {
		text, ok := s.pod.Annotations[r.annotation]
		if !ok {
			continue
		}
		q, err := resource.ParseQuantity(strings.TrimSpace(text))
		if err != nil || q.Sign() < 0 {
			failed = append(failed, fmt.Errorf("pod annotation %s: %q: want a quantity such as 100m or 128Mi", r.annotation, text))
		}
		r.into[r.name], any = q, true
	}
	if len(failed) > 0 || !any {
		return errors.Join(failed...)
	}
	for name, limit := range said.Limits {
		if request, ok := said.Requests[name]; ok && request.Cmp(limit) > 0 {
			failed = append(failed, fmt.Errorf("pod annotations sidecar.istio.io/proxyCPU, proxyMemory: the proxy's request of %s %s is above its limit of %s: raise the limit or lower the request", request.String(), name, limit.String()))
		}
	}
	s.resources = said
	return errors.Join(failed...)
}
