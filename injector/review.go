package injector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// maxReview is the largest request read, in bytes: what the API server itself
	// takes from its clients.
	maxReview = 3 << 20
	// maxReading bounds the bytes of all requests that are read or worked on at
	// once; beyond it, requests wait. One byte of a pod costs some twenty while
	// it is worked on.
	maxReading = 4 * maxReview
	// maxDepth is how deep a request may be nested; a pod has some fifteen levels.
	maxDepth = 64
)

// Reviewer answers the API server's AdmissionReviews: it is the webhook's
// http.Handler at /inject.
type Reviewer struct {
	values  func() (Values, error) // those in force
	log     *slog.Logger
	reading *semaphore.Weighted
	total   *prometheus.CounterVec
	took    prometheus.Histogram
}

// NewReviewer makes one that injects with the values of the moment. metrics
// may be nil.
func NewReviewer(values func() (Values, error), metrics prometheus.Registerer, log *slog.Logger) *Reviewer {
	r := &Reviewer{values: values, log: log, reading: semaphore.NewWeighted(maxReading)}
	r.total = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sidecar_injection_requests_total", Help: "Requests of the API server, and others, by what came of them."}, []string{"result"})
	r.took = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "sidecar_injection_time_seconds", Help: "From a request's last byte to its answer.",
		Buckets: []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .25, 1}})
	if metrics != nil {
		metrics.MustRegister(r.total, r.took)
	}
	return r
}

// badRequest is an answer that is no AdmissionReview, to what is none either.
type badRequest struct {
	status int
	error
}

func (r *Reviewer) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	answer, result, err := r.answer(w, q)
	r.total.WithLabelValues(result).Inc()
	if err != nil {
		var bad badRequest
		status := http.StatusBadRequest
		if errors.As(err, &bad) {
			status = bad.status
		}
		r.log.Warn("a request was refused", "from", q.RemoteAddr, "error", err)
		w.Header().Set("Connection", "close")
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // an API server that is gone asks again
}

// answer is the body to send and what is counted.
func (r *Reviewer) answer(w http.ResponseWriter, q *http.Request) (body []byte, result string, err error) {
	text, free, err := r.read(w, q)
	if err != nil {
		return nil, "garbage", err
	}
	defer free()
	start := time.Now()
	review, err := decodeReview(text)
	if err != nil {
		return nil, "garbage", badRequest{http.StatusBadRequest, err}
	}
	response, result := r.review(review.Request)
	response.UID = review.Request.UID
	body, err = json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	r.took.Observe(time.Since(start).Seconds())
	return body, result, err
}

// read takes the whole body, within the bounds of one and of all requests.
func (r *Reviewer) read(w http.ResponseWriter, q *http.Request) (text []byte, free func(), err error) {
	kind, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	switch {
	case q.Method != http.MethodPost:
		return nil, nil, badRequest{http.StatusMethodNotAllowed, errors.New("want a POST of an AdmissionReview")}
	case err != nil || kind != "application/json":
		return nil, nil, badRequest{http.StatusUnsupportedMediaType, errors.New("want application/json")}
	case q.ContentLength > maxReview:
		return nil, nil, badRequest{http.StatusRequestEntityTooLarge, fmt.Errorf("%d bytes: at most %d are read", q.ContentLength, maxReview)}
	}
	weight := q.ContentLength
	if weight < 0 {
		weight = maxReview
	}
	if err := r.reading.Acquire(q.Context(), weight); err != nil {
		return nil, nil, badRequest{http.StatusServiceUnavailable, err}
	}
	free = func() { r.reading.Release(weight) }
	text, err = io.ReadAll(http.MaxBytesReader(w, q.Body, maxReview))
	if err != nil {
		free()
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, nil, badRequest{http.StatusRequestEntityTooLarge, fmt.Errorf("at most %d bytes are read", maxReview)}
		}
		return nil, nil, badRequest{http.StatusBadRequest, err}
	}
	return text, free, nil
}

// decodeReview reads an AdmissionReview of admission.k8s.io/v1 about something.
func decodeReview(text []byte) (*admissionv1.AdmissionReview, error) {
	if err := shallow(text); err != nil {
		return nil, err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(text, &review); err != nil {
		return nil, fmt.Errorf("no AdmissionReview: %w", err)
	}
	if review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" {
		return nil, fmt.Errorf("%s %s: want admission.k8s.io/v1 AdmissionReview", review.APIVersion, review.Kind)
	}
	if review.Request == nil || review.Request.UID == "" {
		return nil, errors.New("the AdmissionReview has no request")
	}
	return &review, nil
}

// shallow refuses deep nesting before a decoder goes down into it.
func shallow(text []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
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
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: metav1.StatusReasonInvalid,
		Message: "weft cannot inject this pod: " + err.Error(),
	}}
}
