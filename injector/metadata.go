package injector

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Labels and annotations of an injected pod, as Istio's.
const (
	tlsModeLabel           = "security.istio.io/tlsMode"
	canonicalNameLabel     = "service.istio.io/canonical-name"
	canonicalRevisionLabel = "service.istio.io/canonical-revision"

	defaultContainer     = "kubectl.kubernetes.io/default-container"
	defaultLogsContainer = "kubectl.kubernetes.io/default-logs-container"
)

// addMetadata says who the workload is, for telemetry, and that it takes mTLS.
// What the user says stays.
func (s *settings) addMetadata(pod *corev1.Pod, own overrides) {
	labels, annotations := maps.Clone(pod.Labels), maps.Clone(pod.Annotations)
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	add := func(to map[string]string, key, value string) {
		if _, there := to[key]; !there && value != "" {
			to[key] = value
		}
	}
	add(labels, canonicalNameLabel, firstLabel(labels, s.workload(), "app.kubernetes.io/name", "app"))
	add(labels, canonicalRevisionLabel, firstLabel(labels, "latest", "app.kubernetes.io/version", "version"))
	if !s.gateway {
		if !s.grpc { // whether the app takes mTLS is for its library to say
			add(labels, tlsModeLabel, "istio")
		}
		app := firstApp(pod)
		add(annotations, defaultContainer, app)
		add(annotations, defaultLogsContainer, app)
	}
	annotations[revisionLabel] = s.values.Revision
	for key, value := range s.values.Policy.InjectedAnnotations {
		add(annotations, key, value)
	}
	if !own.empty() {
		text, err := json.Marshal(own)
		if err == nil { // API types have a JSON form
			annotations[overridesAnnotation] = string(text)
		}
	}
	pod.Labels, pod.Annotations = labels, annotations
}

func firstApp(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		if !ours(c) {
			return c.Name
		}
	}
	return ""
}

func firstLabel(labels map[string]string, fallback string, keys ...string) string {
	for _, key := range keys {
		if v := labels[key]; v != "" {
			return v
		}
	}
	return labelValue(fallback)
}

// maxLabel is the longest value that Kubernetes takes for a label.
const maxLabel = 63

// labelValue cuts a name to what may be a label's value.
func labelValue(name string) string {
	return strings.TrimRight(name[:min(len(name), maxLabel)], "-._")
}

// cronJobSuffix is what a CronJob puts after its name to name a Job: the minute
// of its schedule since 1970.
var cronJobSuffix = regexp.MustCompile(`^(.+)-\d{8,10}$`)

func (s *settings) workload() string { return cmp.Or(s.owner, workloadName(s.pod)) }

// workloadName is the name of what the user wrote, from what owns the pod: a
// Deployment behind a ReplicaSet, a CronJob behind a Job.
//
// Source: Istio's pkg/kube, GetWorkloadMetaFromPod.
func workloadName(pod *corev1.Pod) string {
	for _, owner := range pod.OwnerReferences {
		if owner.Controller == nil || !*owner.Controller {
			continue
		}
		switch owner.Kind {
		case "ReplicaSet":
			if hash := pod.Labels["pod-template-hash"]; hash != "" {
				return strings.TrimSuffix(owner.Name, "-"+hash)
			}
		case "Job":
			if m := cronJobSuffix.FindStringSubmatch(owner.Name); m != nil {
				return m[1]
			}
		}
		return owner.Name
	}
	if pod.Name != "" {
		return pod.Name
	}
	return strings.TrimRight(pod.GenerateName, "-")
}

// Annotations by which Prometheus finds metrics.
const (
	scrapeAnnotation = "prometheus.io/scrape"
	pathAnnotation   = "prometheus.io/path"
	portAnnotation   = "prometheus.io/port"

	mergedPath = "/stats/prometheus"
)

// appMetrics are where the app's own metrics are, in the words of its
// annotations; it is Istio's ISTIO_PROMETHEUS_ANNOTATIONS.
type appMetrics struct {
	Scrape string `json:"scrape"`
	Path   string `json:"path"`
	Port   string `json:"port"`
}

// mergePrometheus points the annotations at the agent, whose page has the app's
// metrics too, and returns what they said for the agent: "" if nothing. A pod
// that says it is not to be scraped is left alone.
func mergePrometheus(pod *corev1.Pod, s *settings) (string, error) {
	a := appMetrics{pod.Annotations[scrapeAnnotation], pod.Annotations[pathAnnotation], pod.Annotations[portAnnotation]}
	if !s.mergeMetrics || a.Scrape == "false" {
		return "", nil
	}
	if err := s.checkMetricsPort(a); err != nil {
		return "", err
	}
	annotations := maps.Clone(pod.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[scrapeAnnotation], annotations[pathAnnotation] = "true", mergedPath
	annotations[portAnnotation] = strconv.Itoa(int(s.statusPort))
	pod.Annotations = annotations
	if a == (appMetrics{}) {
		return "", nil
	}
	text, err := json.Marshal(a)
	return string(text), err
}

// checkMetricsPort refuses what the agent could not ask: it would not start.
func (s *settings) checkMetricsPort(a appMetrics) error {
	if a.Scrape != "true" || a.Port == "" {
		return nil
	}
	n, err := strconv.ParseUint(a.Port, 10, 16)
	if err != nil || n == 0 || n == uint64(s.statusPort) || n == prometheusPort {
		return fmt.Errorf("pod annotation %s: %q: want the app's own port for metrics, 1 to 65535; %d and %d are the proxy's", portAnnotation, a.Port, s.statusPort, prometheusPort)
	}
	return nil
}

// restorePrometheus undoes mergePrometheus.
func restorePrometheus(pod *corev1.Pod, proxy *corev1.Container) {
	if pod.Annotations[pathAnnotation] != mergedPath {
		return
	}
	var a appMetrics
	if text := variable(proxy, "ISTIO_PROMETHEUS_ANNOTATIONS"); text != "" && json.Unmarshal([]byte(text), &a) != nil {
		return
	}
	annotations := maps.Clone(pod.Annotations)
	for name, value := range map[string]string{scrapeAnnotation: a.Scrape, pathAnnotation: a.Path, portAnnotation: a.Port} {
		if delete(annotations, name); value != "" {
			annotations[name] = value
		}
	}
	pod.Annotations = annotations
}
