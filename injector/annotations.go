package injector

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	meshapi "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/config"
)

const configAnnotation = config.ProxyAnnotation

// Honoured are the pod annotations that Inject reads, all but those that decide
// whether a pod is injected at all. Source: istio.io/api/annotation.
var honoured = map[string]func(s *settings, value string) error{
	"sidecar.istio.io/nativeSidecar":         (*settings).readNative,
	"sidecar.istio.io/proxyImage":            (*settings).readImage,
	"sidecar.istio.io/proxyImageType":        readImageType,
	"sidecar.istio.io/logLevel":              func(s *settings, v string) error { return oneOf(&s.logLevel, v, envoyLevels) },
	"sidecar.istio.io/componentLogLevel":     (*settings).readComponentLevel,
	"sidecar.istio.io/agentLogLevel":         (*settings).readAgentLevel,
	"sidecar.istio.io/interceptionMode":      (*settings).readInterception,
	"sidecar.istio.io/rewriteAppHTTPProbers": func(s *settings, v string) error { return boolean(&s.rewrite, v) },
	"prometheus.istio.io/merge-metrics":      func(s *settings, v string) error { return boolean(&s.mergeMetrics, v) },
	"sidecar.istio.io/userVolume":            (*settings).readVolumes,
	"sidecar.istio.io/userVolumeMount":       (*settings).readMounts,
	"sidecar.istio.io/discoveryAddress":      (*settings).readDiscovery,
	"sidecar.istio.io/statsInclusionPrefixes": func(s *settings, v string) error {
		return s.readStats(v, func(m *meshapi.ProxyConfig_ProxyStatsMatcher) *[]string { return &m.InclusionPrefixes })
	},
	"sidecar.istio.io/statsInclusionSuffixes": func(s *settings, v string) error {
		return s.readStats(v, func(m *meshapi.ProxyConfig_ProxyStatsMatcher) *[]string { return &m.InclusionSuffixes })
	},
	"sidecar.istio.io/statsInclusionRegexps": func(s *settings, v string) error {
		return s.readStats(v, func(m *meshapi.ProxyConfig_ProxyStatsMatcher) *[]string { return &m.InclusionRegexps })
	},
	"weft.mesh/stop-after-drain":                            func(s *settings, v string) error { return boolean(&s.stopAfterDrain, v) },
	"status.sidecar.istio.io/port":                          (*settings).readStatusPort,
	"readiness.status.sidecar.istio.io/failureThreshold":    func(s *settings, v string) error { return seconds(&s.readiness.failures, v, 1) },
	"readiness.status.sidecar.istio.io/initialDelaySeconds": func(s *settings, v string) error { return seconds(&s.readiness.delay, v, 0) },
	"readiness.status.sidecar.istio.io/periodSeconds":       func(s *settings, v string) error { return seconds(&s.readiness.period, v, 1) },
	"traffic.sidecar.istio.io/includeInboundPorts":          func(s *settings, v string) error { return ports(&s.capture.inboundPorts, v, true) },
	"traffic.sidecar.istio.io/excludeInboundPorts":          func(s *settings, v string) error { return ports(&s.capture.excludeInboundPorts, v, false) },
	"traffic.sidecar.istio.io/includeOutboundPorts":         func(s *settings, v string) error { return ports(&s.capture.outboundPorts, v, false) },
	"traffic.sidecar.istio.io/excludeOutboundPorts":         func(s *settings, v string) error { return ports(&s.capture.excludeOutboundPorts, v, false) },
	"traffic.sidecar.istio.io/includeOutboundIPRanges":      func(s *settings, v string) error { return ranges(&s.capture.outboundRanges, v, true) },
	"traffic.sidecar.istio.io/excludeOutboundIPRanges":      func(s *settings, v string) error { return ranges(&s.capture.excludeOutboundRanges, v, false) },
	"traffic.sidecar.istio.io/excludeInterfaces":            func(s *settings, v string) error { return interfaces(&s.capture.excludeInterfaces, v) },
	"traffic.sidecar.istio.io/kubevirtInterfaces":           func(s *settings, v string) error { return interfaces(&s.capture.rerouteInterfaces, v) },
	"istio.io/reroute-virtual-interfaces":                   func(s *settings, v string) error { return interfaces(&s.capture.rerouteInterfaces, v) },
}

// Refused are annotations that change what is enforced or run, in ways that
// Weft has not: a pod that asks for one must not start as if it had got it.
var refused = map[string]string{
	"sidecar.istio.io/bootstrapOverride": "Envoy's bootstrap cannot be replaced; leave the annotation out, and use proxy.istio.io/config",
}

// ignored are annotations that change nothing here; a pod that has one starts,
// and its user is warned.
var ignored = map[string]string{
	"prometheus.istio.io/scrape-targets":                 "the agent asks for one page of the app's: name it in prometheus.io/port and prometheus.io/path",
	"readiness.status.sidecar.istio.io/applicationPorts": "the proxy's readiness does not depend on the app's ports",
	"sidecar.istio.io/extraStatTags":                     "Envoy's own statistics have fixed tags",
	"sidecar.istio.io/statsCompression":                  "metrics are not compressed",
	"sidecar.istio.io/statsEvictionInterval":             "Envoy's own statistics are not evicted",
	"sidecar.istio.io/statsFlushInterval":                "metrics are read when they are scraped",
	"sidecar.istio.io/statsHistogramBins":                "histograms have Istio's default buckets",
	"sidecar.istio.io/statsHistogramBuckets":             "histograms have Istio's default buckets",
	"sidecar.istio.io/controlPlaneAuthPolicy":            "the control plane always proves its identity",
	"sidecar.istio.io/enableCoreDump":                    "core dumps are the node's to allow",
	"topology.istio.io/controlPlaneClusters":             "there is one cluster",
}

// apply reads one annotation; those of others are left alone.
func (s *settings) apply(name, value string) error {
	if why, ok := refused[name]; ok {
		return errors.New(why)
	}
	read, ok := honoured[name]
	if !ok || s.capture == nil && strings.HasPrefix(name, "traffic.") {
		return nil
	}
	return read(s, value)
}

// Warnings say what of a pod's annotations changes nothing, and why; none when
// all of them are honoured. Sorted.
func Warnings(pod *corev1.Pod) (out []string) {
	for name := range pod.Annotations {
		if why, ok := ignored[name]; ok {
			out = append(out, fmt.Sprintf("pod annotation %s is ignored: %s", name, why))
		}
	}
	out = append(out, configWarnings(pod.Annotations[configAnnotation])...)
	slices.Sort(out)
	return out
}

func (s *settings) readNative(value string) error {
	var native bool
	if err := boolean(&native, value); err != nil {
		return err
	}
	if native && !s.values.NativeSidecars {
		return errors.New("this cluster has no native sidecars: they need Kubernetes 1.29; leave the annotation out")
	}
	s.native = native
	return nil
}

func (s *settings) readImage(value string) error {
	if value = strings.TrimSpace(value); value == "" || strings.ContainsAny(value, " \t\n") {
		return errors.New("want an image such as registry.example/weft/proxy:1.0")
	}
	s.image = s.values.image(value)
	return nil
}

// readImageType takes Istio's names for what our only image is.
func readImageType(_ *settings, value string) error {
	if value == "default" || value == "distroless" {
		return nil
	}
	return errors.New("there is one image, without a shell; leave the annotation out, or name another image in sidecar.istio.io/proxyImage")
}

var envoyLevels = []string{"trace", "debug", "info", "warning", "error", "critical", "off"}

func (s *settings) readComponentLevel(value string) error {
	for _, item := range splitList(value) {
		var level string
		component, text, _ := strings.Cut(item, ":")
		if err := oneOf(&level, text, envoyLevels); err != nil || component == "" {
			return fmt.Errorf("want COMPONENT:LEVEL,... with levels %s", strings.Join(envoyLevels, ", "))
		}
	}
	s.componentLogLevel = strings.Join(splitList(value), ",")
	return nil
}

var agentLevels = []string{"debug", "info", "warn", "error"}

// readAgentLevel reads Istio's SCOPE:LEVEL; the agent has one level for all.
func (s *settings) readAgentLevel(value string) error {
	scope, level, scoped := strings.Cut(strings.TrimSpace(value), ":")
	if !scoped {
		level = scope
	} else if scope != "default" && scope != "all" {
		return errors.New("the agent has one level for all that it logs: want default:LEVEL")
	}
	return oneOf(&s.agentLevel, level, agentLevels)
}

func (s *settings) readInterception(value string) error {
	switch value {
	case "REDIRECT":
	case "NONE":
		s.capture = nil
	default:
		return errors.New("want REDIRECT or NONE; TPROXY is not there: with REDIRECT too, servers that read X-Forwarded-For see the client's address")
	}
	return nil
}

func (s *settings) readDiscovery(value string) error {
	if host, port, ok := strings.Cut(value, ":"); !ok || host == "" || port == "" {
		return errors.New("want HOST:PORT of a pilot")
	}
	s.values.Global.PilotAddress = value
	return nil
}

func (s *settings) readStatusPort(value string) error {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n == 0 {
		return errors.New("want a port of 1 to 65535; the agent's health cannot be turned off, for the pod's readiness depends on it")
	}
	s.statusPort = int32(n)
	return nil
}

func (s *settings) readVolumes(value string) error {
	byName := map[string]corev1.Volume{}
	err := yaml.UnmarshalStrict([]byte(value), &s.volumes)
	if err != nil && yaml.UnmarshalStrict([]byte(value), &byName) == nil { // Istio's older form
		for name, v := range byName {
			v.Name = name
			s.volumes = append(s.volumes, v)
		}
		slices.SortFunc(s.volumes, func(a, b corev1.Volume) int { return strings.Compare(a.Name, b.Name) })
		err = nil
	}
	if err != nil || slices.ContainsFunc(s.volumes, func(v corev1.Volume) bool { return v.Name == "" }) {
		return errors.Join(errors.New("want a list of volumes in JSON, as in spec.volumes"), err)
	}
	return nil
}

func (s *settings) readMounts(value string) error {
	byName := map[string]corev1.VolumeMount{}
	err := yaml.UnmarshalStrict([]byte(value), &s.mounts)
	if err != nil && yaml.UnmarshalStrict([]byte(value), &byName) == nil {
		for name, m := range byName {
			m.Name = name
			s.mounts = append(s.mounts, m)
		}
		slices.SortFunc(s.mounts, func(a, b corev1.VolumeMount) int { return strings.Compare(a.Name, b.Name) })
		err = nil
	}
	if err != nil || slices.ContainsFunc(s.mounts, func(m corev1.VolumeMount) bool { return m.Name == "" || m.MountPath == "" }) {
		return errors.Join(errors.New("want a list of mounts in JSON, as in a container's volumeMounts"), err)
	}
	return nil
}

func oneOf(into *string, value string, list []string) error {
	if value = strings.ToLower(strings.TrimSpace(value)); !slices.Contains(list, value) {
		return fmt.Errorf("want one of %s", strings.Join(list, ", "))
	}
	*into = value
	return nil
}

func boolean(into *bool, value string) error {
	b, err := strconv.ParseBool(strings.TrimSpace(value))
	if err != nil {
		return errors.New(`want "true" or "false"`)
	}
	*into = b
	return nil
}

func seconds(into *int32, value string, least int32) error {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil || int32(n) < least {
		return fmt.Errorf("want a whole number of at least %d", least)
	}
	*into = int32(n)
	return nil
}

// ports checks a list of ports; all says whether "*" may be said.
func ports(into *string, value string, all bool) error {
	list := splitList(value)
	if all && len(list) == 1 && list[0] == "*" {
		*into = "*"
		return nil
	}
	for _, p := range list {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("want ports of 1 to 65535, comma separated%s", orStar(all))
		}
	}
	*into = strings.Join(list, ",")
	return nil
}

func orStar(all bool) string {
	if all {
		return `, or "*" for all`
	}
	return ""
}

func ranges(into *string, value string, all bool) error {
	list := splitList(value)
	if all && len(list) == 1 && list[0] == "*" {
		*into = "*"
		return nil
	}
	for _, r := range list {
		_, prefix := netip.ParsePrefix(r)
		_, address := netip.ParseAddr(r)
		if prefix != nil && address != nil {
			return fmt.Errorf("want CIDRs such as 10.0.0.0/8, comma separated%s", orStar(all))
		}
	}
	*into = strings.Join(list, ",")
	return nil
}

// maxInterface is the kernel's, IFNAMSIZ less one.
const maxInterface = 15

func interfaces(into *string, value string) error {
	list := splitList(value)
	for _, name := range list {
		if name == "lo" || len(name) > maxInterface || strings.ContainsAny(name, "/ ") {
			return fmt.Errorf("want interfaces such as net1, comma separated, of at most %d characters, and not lo", maxInterface)
		}
	}
	*into = strings.Join(list, ",")
	return nil
}
