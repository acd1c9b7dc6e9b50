package ca

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRotationIsSteeredFromLoopbackAlone: every page that shows or moves a rotation
// refuses who is not of this pod, and does nothing for them.
func TestRotationIsSteeredFromLoopbackAlone(t *testing.T) {
	a, err := newAuthority(newMesh(t).options().withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	a.rotator.control(t.Context(), mux)
	ask := func(from, method, target string) int {
		r, w := httptest.NewRequest(method, target, strings.NewReader("[]")), httptest.NewRecorder()
		r.RemoteAddr = from
		mux.ServeHTTP(w, r)
		return w.Code
	}
	for _, page := range []struct{ method, target string }{
		{"GET", "/debug/rotation"}, {"POST", "/debug/rotation?do=begin"}, {"POST", "/debug/rotation?do=pause"},
		{"POST", "/debug/rotation?do=resume"}, {"POST", "/debug/rotation?do=rollback"}, {"POST", "/debug/pods"},
	} {
		for _, from := range []string{"10.0.0.1:9", "[fd00::1]:9", "169.254.1.1:9", "[::ffff:10.0.0.1]:9", "@", ""} {
			if got := ask(from, page.method, page.target); got != http.StatusForbidden {
				t.Errorf("%s %s from %q is answered %d, want 403", page.method, page.target, from, got)
			}
		}
		for _, from := range []string{"127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"} {
			if got := ask(from, page.method, page.target); got == http.StatusForbidden || got == http.StatusNotFound {
				t.Errorf("%s %s from %q is answered %d", page.method, page.target, from, got)
			}
		}
	}
}
