package admission

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
)

// yes lets everything in.
func yes() *Handler {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "total"}, []string{"result"})
	decide := func(*admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, string) {
		return &admissionv1.AdmissionResponse{Allowed: true}, "allowed"
	}
	return NewHandler(decide, 100, total, prometheus.NewHistogram(prometheus.HistogramOpts{Name: "took"}), slog.New(slog.DiscardHandler))
}

// ask sends a body from an address and gives the status of the answer.
func ask(t *testing.T, h *Handler, from string, body io.Reader, size int64) int {
	q := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
	q.RemoteAddr, q.ContentLength = from, size
	q.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	return w.Code
}

// review is an AdmissionReview of so many bytes.
func review(size int) string {
	const head = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"`
	return head + strings.Repeat("x", size-len(head)-3) + `"}}`
}

func TestSizes(t *testing.T) {
	h := yes()
	for size, want := range map[int]int{
		1 << 10: 200, smallReview - 1: 200, smallReview: 200, smallReview + 1: 200, MaxReview: 200, MaxReview + 1: 413,
	} {
		text := review(size)
		if got := ask(t, h, "10.0.0.1:1", strings.NewReader(text), int64(size)); got != want {
			t.Errorf("%d bytes: %d, want %d", size, got, want)
		}
		if got := ask(t, h, "10.0.0.1:1", io.MultiReader(strings.NewReader(text)), -1); got != want {
			t.Errorf("%d bytes in chunks: %d, want %d", size, got, want)
		}
	}
	if !h.Idle() {
		t.Error("something is still held")
	}
}

// TestElements: what is small and costs much is refused by what it costs.
func TestElements(t *testing.T) {
	h := yes()
	for n, want := range map[int]int{40: 200, 60: 400} {
		text := strings.Replace(review(1<<10), `"request":{`, `"request":{"object":[`+strings.Repeat("{},", n)+`{}],`, 1)
		if got := ask(t, h, "10.0.0.1:1", strings.NewReader(text), int64(len(text))); got != want {
			t.Errorf("%d objects: %d, want %d", n, got, want)
		}
	}
}

// TestSlowCallerHoldsUpNoOther: a caller with many large bodies that it never
// ends has its own share, and others theirs.
func TestSlowCallerHoldsUpNoOther(t *testing.T) {
	h := yes()
	const slow = 20
	bodies := make([]*io.PipeWriter, slow)
	var ended sync.WaitGroup
	for n := range bodies {
		body, w := io.Pipe()
		bodies[n] = w
		ended.Go(func() { ask(t, h, "10.0.0.66:1", body, MaxReview) })
		if _, err := w.Write([]byte(strings.Repeat(" ", smallReview))); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan int, 1)
	go func() {
		text := review(MaxReview)
		answered <- ask(t, h, "10.0.0.1:1", strings.NewReader(text), int64(len(text)))
	}()
	select {
	case code := <-answered:
		if code != http.StatusOK {
			t.Errorf("the other caller's request: %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Error("the other caller waits for the slow one")
	}
	for _, w := range bodies {
		_ = w.CloseWithError(io.ErrUnexpectedEOF)
	}
	ended.Wait()
	if !h.Idle() {
		t.Error("something is still held")
	}
}

// TestCostlyCallerHoldsUpNoOther: who has costly requests decided about waits for
// himself.
func TestCostlyCallerHoldsUpNoOther(t *testing.T) {
	h, begun, end := yes(), make(chan bool, 8), make(chan bool)
	h.decide = func(q *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, string) {
		if q.Name == "costly" {
			begun <- true
			<-end
		}
		return &admissionv1.AdmissionResponse{Allowed: true}, "allowed"
	}
	costly := strings.Replace(review(1<<10), `"request":{`, `"request":{"name":"costly","object":[`+strings.Repeat("{},", 40)+`{}],`, 1)
	var ended sync.WaitGroup
	for range 4 {
		ended.Go(func() { ask(t, h, "10.0.0.66:1", strings.NewReader(costly), int64(len(costly))) })
	}
	<-begun // it has its share
	if code := ask(t, h, "10.0.0.1:1", strings.NewReader(review(1<<10)), 1<<10); code != http.StatusOK {
		t.Errorf("the other caller's request: %d", code)
	}
	if len(begun) > 0 {
		t.Error("the costly one has more than its share")
	}
	close(end)
	ended.Wait()
	if !h.Idle() {
		t.Error("something is still held")
	}
}
