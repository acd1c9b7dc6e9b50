package injector

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	meshapi "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
)

// readConfig are the fields of ProxyConfig that Inject reads.
var readConfig = []protoreflect.Name{
	"discovery_address", "concurrency", "interception_mode", "proxy_metadata", "status_port", "termination_drain_duration",
	"hold_application_until_proxy_starts", "mesh_id", "image", "readiness_probe",
	"proxy_headers", "gateway_topology", "connection_settings", // the pilot does, of the pod
	"proxy_stats_matcher", "runtime_values", "file_flush_interval", "file_flush_min_size_kb",
	"envoy_access_log_service", "envoy_metrics_service", "statsd_udp_address", "tracing_service_name",
}

// effectiveProxy is what holds for a pod.
func effectiveProxy(v Values, pod *corev1.Pod) (*meshapi.ProxyConfig, error) {
	return config.ProxyConfigsOf(v.ProxyConfigs, config.ProxyTarget{
		Root: cmp.Or(v.RootNamespace, v.Global.Namespace), Namespace: cmp.Or(pod.Namespace, v.PodNamespace), Labels: pod.Labels,
	}).Of(v.Proxy, pod.Annotations[configAnnotation])
}

// configWarnings name the fields of the annotation that nobody reads.
func configWarnings(annotation string) (out []string) {
	if annotation == "" {
		return nil
	}
	over, err := config.ParseProxyConfig(annotation)
	if err != nil {
		return nil // an error already
	}
	over.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if config.RefusedOfPods(f.Name()) == "" && !slices.Contains(readConfig, f.Name()) {
			out = append(out, fmt.Sprintf("pod annotation %s: %s is ignored", configAnnotation, f.JSONName()))
		}
		return true
	})
	return out
}

// applyProxyConfig sets what s.proxy says. Annotations of one thing each win
// over it.
func (s *settings) applyProxyConfig() error {
	p, at := s.proxy, func(field, format string, args ...any) error {
		return fmt.Errorf("ProxyConfig (pod annotation %s, an object of that kind, or defaultConfig of the mesh): %s: %s", configAnnotation, field, fmt.Sprintf(format, args...))
	}
	var failed []error
	if p.GetDiscoveryAddress() != "" {
		if err := s.readDiscovery(p.GetDiscoveryAddress()); err != nil {
			failed = append(failed, at("discoveryAddress", "%q: %v", p.GetDiscoveryAddress(), err))
		}
	}
	if n := p.GetConcurrency(); n != nil {
		if n.GetValue() < 0 {
			failed = append(failed, at("concurrency", "%d: want 0 (as many as CPUs in the limit) or more", n.GetValue()))
		}
		s.concurrency = n.GetValue()
	}
	switch p.GetInterceptionMode() {
	case meshapi.ProxyConfig_REDIRECT:
	case meshapi.ProxyConfig_NONE:
		s.capture = nil
	default:
		failed = append(failed, at("interceptionMode", "%s: want REDIRECT or NONE", p.GetInterceptionMode()))
	}
	if h := p.GetHoldApplicationUntilProxyStarts(); h != nil {
		s.hold = h.GetValue()
	}
	if d := p.GetTerminationDrainDuration(); d != nil {
		if s.drain = d.AsDuration(); s.drain <= 0 {
			failed = append(failed, at("terminationDrainDuration", "%s: want more than 0s", s.drain))
		}
	}
	if n := p.GetStatusPort(); n != 0 {
		if n < 0 || n > 65535 {
			failed = append(failed, at("statusPort", "%d: want 1 to 65535", n))
		}
		s.statusPort = n
	}
	if t := p.GetImage().GetImageType(); t != "" {
		if err := readImageType(s, t); err != nil {
			failed = append(failed, at("image.imageType", "%q: %v", t, err))
		}
	}
	_, wrong := config.AgentProxy(p)
	for _, w := range wrong {
		failed = append(failed, at(w.Field, "%v", w.Err))
	}
	s.applyReadiness(p)
	failed = append(failed, s.applyMetadata(p))
	return errors.Join(failed...)
}

func (s *settings) applyReadiness(p *meshapi.ProxyConfig) {
	probe := p.GetReadinessProbe()
	set := func(into *int32, n int32) {
		if n > 0 {
			*into = n
		}
	}
	set(&s.readiness.delay, probe.GetInitialDelaySeconds())
	set(&s.readiness.period, probe.GetPeriodSeconds())
	set(&s.readiness.failures, probe.GetFailureThreshold())
}

// ownVariables are what the injector alone may say about a pod: they are its
// identity and its health.
var ownVariables = []string{
	"POD_NAME", "POD_NAMESPACE", "INSTANCE_IP", "HOST_IP", "SERVICE_ACCOUNT", "TRUST_DOMAIN",
	"ISTIO_KUBE_APP_PROBERS", "ISTIO_PROMETHEUS_ANNOTATIONS", config.AgentVariable,
}

// applyMetadata checks proxyMetadata, which becomes the agent's environment.
func (s *settings) applyMetadata(p *meshapi.ProxyConfig) error {
	for name, value := range p.GetProxyMetadata() {
		if slices.Contains(ownVariables, name) || name == "" || strings.ContainsAny(name, "= \t\n") {
			return fmt.Errorf("ProxyConfig (pod annotation %s, an object of that kind, or defaultConfig of the mesh): proxyMetadata.%s: the injector sets it, or it is no variable's name: leave it out", configAnnotation, name)
		}
		if err := s.readMetadata(name, value); err != nil {
			return fmt.Errorf("ProxyConfig (pod annotation %s, an object of that kind, or defaultConfig of the mesh): proxyMetadata.%s: %q: %w", configAnnotation, name, value, err)
		}
	}
	return nil
}

// readMetadata takes those that we know; the agent reads the others, or nobody.
func (s *settings) readMetadata(name, value string) error {
	switch name {
	case "ISTIO_META_DNS_CAPTURE":
		return boolean(&s.dns, value)
	case "SECRET_TTL":
		if ttl, err := time.ParseDuration(value); err != nil || ttl <= 0 {
			return errors.New("want a duration such as 24h, for which the pod's certificates hold")
		}
	case "WEFT_MESH_SAMPLES", "WEFT_APP_SAMPLES":
		if n, err := strconv.ParseUint(value, 10, 31); err != nil || n == 0 {
			return errors.New("want a number above 0, of samples that a scrape of the pod shows")
		}
	}
	return nil
}

// readStats takes one of Istio's three annotations of a list each, which goes
// before that list of the ProxyConfig.
func (s *settings) readStats(value string, into func(*meshapi.ProxyConfig_ProxyStatsMatcher) *[]string) error {
	if s.proxy.GetProxyStatsMatcher() == nil {
		s.proxy.ProxyStatsMatcher = &meshapi.ProxyConfig_ProxyStatsMatcher{}
	}
	own := &meshapi.ProxyConfig_ProxyStatsMatcher{} // what else is wrong is not this annotation's
	*into(own) = splitList(value)
	*into(s.proxy.GetProxyStatsMatcher()) = *into(own)
	if _, wrong := config.AgentProxy(&meshapi.ProxyConfig{ProxyStatsMatcher: own}); len(wrong) > 0 {
		return wrong[0]
	}
	return nil
}

// workers is Envoy's number of threads: what is said, or for 0 the CPUs of the
// limit.
func (s *settings) workers() int64 {
	if s.concurrency > 0 {
		return int64(s.concurrency)
	}
	if limit := s.resources.Limits[corev1.ResourceCPU]; limit.Sign() > 0 {
		return limit.Value() // rounded up
	}
	return 2
}
