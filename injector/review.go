package injector

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/admission"
)

// Reviewer answers the API server's AdmissionReviews: it is the webhook's
// http.Handler at /inject.
type Reviewer struct {
	*admission.Handler
	values func() (Values, error) // those in force
	log    *slog.Logger
}

// maxElements bounds the elements of JSON of a review: a large pod has some
// thousand, and an element may cost 5 kB while its pod is changed.
const maxElements = 10_000

// NewReviewer makes one that injects with the values of the moment. metrics
// may be nil.
func NewReviewer(values func() (Values, error), metrics prometheus.Registerer, log *slog.Logger) *Reviewer {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sidecar_injection_requests_total", Help: "Requests of the API server, and others, by what came of them."}, []string{"result"})
	took := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "sidecar_injection_time_seconds", Help: "From a request's last byte to its answer.",
		Buckets: []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .25, 1}})
	for _, result := range []string{"failed", "refused"} {
		total.WithLabelValues(result) // 0 until it happens: a rate needs a first value
	}
	if metrics != nil {
		metrics.MustRegister(total, took)
	}
	r := &Reviewer{values: values, log: log}
	r.Handler = admission.NewHandler(r.review, maxElements, total, took, log)
	return r
}

// review decides about one pod. What is not a pod being made is let through:
// the webhook's rules send nothing else.
func (r *Reviewer) review(q *admissionv1.AdmissionRequest) (out *admissionv1.AdmissionResponse, result string) {
	if q.Kind.Kind != "Pod" || q.Kind.Group != "" || q.Operation != admissionv1.Create {
		return &admissionv1.AdmissionResponse{Allowed: true}, "ignored"
	}
	v, err := r.values()
	if err != nil {
		return refusal(http.StatusInternalServerError, err), "failed"
	}
	var pod corev1.Pod
	if err := json.Unmarshal(q.Object.Raw, &pod); err != nil {
		return refusal(http.StatusBadRequest, fmt.Errorf("the object is no pod: %w", err)), "refused"
	}
	wanted, why, err := Wanted(&pod, q.Namespace, v)
	if err != nil {
		return refusal(http.StatusUnprocessableEntity, err), "refused"
	}
	if !wanted {
		r.log.Debug("not injected", "namespace", q.Namespace, "pod", podName(&pod), "because", why)
		return &admissionv1.AdmissionResponse{Allowed: true}, "skipped"
	}
	v.PodNamespace = q.Namespace
	patch, err := Patch(q.Object.Raw, v)
	if err != nil {
		r.log.Info("refused", "namespace", q.Namespace, "pod", podName(&pod), "because", err)
		return refusal(http.StatusUnprocessableEntity, err), "refused"
	}
	kind := admissionv1.PatchTypeJSONPatch
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: patch, PatchType: &kind, Warnings: Warnings(&pod)}, "injected"
}

// podName is the name, or what the API server will make it from.
func podName(pod *corev1.Pod) string {
	if pod.Name != "" {
		return pod.Name
	}
	return pod.GenerateName + "*"
}

func refusal(code int32, err error) *admissionv1.AdmissionResponse {
	return admission.Refuse(code, "weft cannot inject this pod: "+err.Error())
}
