package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// MaxReview is the largest request read, in bytes: what the API server itself
	// takes from its clients.
	MaxReview = 3 << 20
	// smallReview is what a request may hold while it is read without a share of
	// maxLarge, in bytes: nearly all do with it.
	smallReview = 16 << 10
	// maxLarge bounds the bytes of all larger requests that are read or worked on
	// at once; each caller may have MaxReview of them. Beyond it, requests wait.
	maxLarge = 4 * MaxReview
	// maxDepth is how deep a request may be nested; a pod has some fifteen levels.
	maxDepth = 64
)

// Decide answers one request, but for its UID. result is what is counted.
type Decide func(*admissionv1.AdmissionRequest) (answer *admissionv1.AdmissionResponse, result string)

// Handler answers the API server's AdmissionReviews. It is an http.Handler.
type Handler struct {
	decide  Decide
	log     *slog.Logger
	large   *shares
	most    int                    // elements of one request
	working *shares                // by elements
	total   *prometheus.CounterVec // by result; "garbage" for what is no AdmissionReview
	took    prometheus.Observer    // seconds from a request's last byte to its answer
}

// NewHandler makes one. A request of more than most elements of JSON, which cost
// far more memory than their bytes, is refused; of one caller no more are decided
// about at once, and of all twice as many. total has one label, the result.
func NewHandler(decide Decide, most int, total *prometheus.CounterVec, took prometheus.Observer, log *slog.Logger) *Handler {
	return &Handler{
		decide: decide, log: log, total: total, took: took, most: most,
		large: newShares(maxLarge, MaxReview), working: newShares(2*int64(most), int64(most)),
	}
}

// Idle reports whether no request is read or worked on.
func (h *Handler) Idle() bool {
	return h.large.idle() && h.working.idle()
}

// badRequest is an answer that is no AdmissionReview, to what is none either.
type badRequest struct {
	status int
	error
}

// ServeHTTP answers one request: 200 with an AdmissionReview, or 4xx with a
// line of text.
func (h *Handler) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	answer, result, err := h.answer(w, q)
	h.total.WithLabelValues(result).Inc()
	if err != nil {
		var bad badRequest
		status := http.StatusBadRequest
		if errors.As(err, &bad) {
			status = bad.status
		}
		h.log.Warn("a request was refused", "from", q.RemoteAddr, "error", err)
		w.Header().Set("Connection", "close")
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // an API server that is gone asks again
}

// answer is the body to send and what is counted.
func (h *Handler) answer(w http.ResponseWriter, q *http.Request) (body []byte, result string, err error) {
	text, free, err := h.read(w, q)
	if err != nil {
		return nil, "garbage", err
	}
	defer free()
	// Only now, with the whole body here: the caller decides how long that takes.
	weight, err := h.weigh(text)
	if err != nil {
		return nil, "garbage", badRequest{http.StatusBadRequest, err}
	}
	done, err := h.working.take(q.Context(), hostOf(q.RemoteAddr), weight)
	if err != nil {
		return nil, "garbage", badRequest{http.StatusServiceUnavailable, err}
	}
	defer done()
	start := time.Now()
	review, err := decode(text)
	if err != nil {
		return nil, "garbage", badRequest{http.StatusBadRequest, err}
	}
	response, result := h.decide(review.Request)
	response.UID = review.Request.UID
	body, err = json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	h.took.Observe(time.Since(start).Seconds())
	return body, result, err
}

// read takes the whole body, within the bounds of one and of all requests.
func (h *Handler) read(w http.ResponseWriter, q *http.Request) (text []byte, free func(), err error) {
	kind, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	switch {
	case q.Method != http.MethodPost:
		return nil, nil, badRequest{http.StatusMethodNotAllowed, errors.New("want a POST of an AdmissionReview")}
	case err != nil || kind != "application/json":
		return nil, nil, badRequest{http.StatusUnsupportedMediaType, errors.New("want application/json")}
	case q.ContentLength > MaxReview:
		return nil, nil, badRequest{http.StatusRequestEntityTooLarge, fmt.Errorf("%d bytes: at most %d are read", q.ContentLength, MaxReview)}
	}
	free = func() {}
	from, size := http.MaxBytesReader(w, q.Body, MaxReview), q.ContentLength
	if text, err = io.ReadAll(io.LimitReader(from, smallReview)); err == nil && len(text) == smallReview && size != smallReview {
		if size < 0 {
			size = MaxReview
		}
		if free, err = h.large.take(q.Context(), hostOf(q.RemoteAddr), size); err != nil {
			return nil, nil, badRequest{http.StatusServiceUnavailable, err}
		}
		text, err = remainder(text, from, size)
	}
	if err == nil {
		return text, free, nil
	}
	free()
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, nil, badRequest{http.StatusRequestEntityTooLarge, fmt.Errorf("at most %d bytes are read", MaxReview)}
	}
	return nil, nil, badRequest{http.StatusBadRequest, err}
}

// remainder reads what follows the beginning of a body of some size in bytes.
func remainder(text []byte, from io.Reader, size int64) ([]byte, error) {
	whole := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	whole.Write(text)
	_, err := whole.ReadFrom(from)
	return whole.Bytes(), err
}

// decode reads an AdmissionReview of admission.k8s.io/v1 about something.
func decode(text []byte) (*admissionv1.AdmissionReview, error) {
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

// weigh counts the elements of a request, and refuses deep nesting and too many
// of them before a decoder goes into them. An empty object of three bytes may
// become a kilobyte.
func (h *Handler) weigh(text []byte) (elements int64, err error) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			elements++
			if depth++; depth > maxDepth {
				return 0, fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		case c == ',':
			elements++
		}
	}
	if elements > int64(h.most) {
		return 0, fmt.Errorf("%d elements: at most %d are read", elements, h.most)
	}
	return elements, nil
}

// Refuse is the answer to a request that is not let in. code is an HTTP status.
func Refuse(code int32, message string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: metav1.StatusReasonInvalid, Message: message,
	}}
}
