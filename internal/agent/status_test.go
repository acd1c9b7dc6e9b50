package agent

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Pages for the pod alone do not answer what its Envoy passes on, whose address is
// loopback too; a refused order is not carried out.
func TestForwardedRequestsAreNotFromThePod(t *testing.T) {
	for name, want := range map[string]int{
		"": http.StatusOK, "User-Agent": http.StatusOK, "X-Mine": http.StatusOK,
		"x-request-id": http.StatusForbidden, "X-Forwarded-Proto": http.StatusForbidden, "x-forwarded-for": http.StatusForbidden,
		"X-Envoy-Expected-Rq-Timeout-Ms": http.StatusForbidden, "x-envoy-attempt-count": http.StatusForbidden,
	} {
		ordered, shown := make(chan struct{}), false
		page := fromPod(nil, func(http.ResponseWriter, *http.Request) { shown = true })
		for _, serve := range []http.Handler{order(nil, ordered), page} {
			r, w := httptest.NewRequest(http.MethodPost, "/", nil), httptest.NewRecorder()
			if r.RemoteAddr = "127.0.0.1:40000"; name != "" {
				r.Header.Set(name, "")
			}
			if serve.ServeHTTP(w, r); w.Code != want {
				t.Errorf("with %q: %d, not %d", name, w.Code, want)
			}
		}
		done := false
		select {
		case <-ordered:
			done = true
		default:
		}
		if ok := want == http.StatusOK; done != ok || shown != ok {
			t.Errorf("with %q: the order was carried out: %v, the page shown: %v", name, done, shown)
		}
	}
}
