package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"
)

func served(t *testing.T, o Options) *httptest.Server {
	t.Helper()
	o.Token, o.Once = "secret", "first"
	o.Assets = fstest.MapFS{"index.html": {Data: []byte("<p>page</p>")}}
	d := New(o)
	go d.Run(t.Context())
	s := httptest.NewServer(d.Handler())
	t.Cleanup(s.Close)
	return s
}

// asked is how the dashboard answers a request with some headers, "Host" among
// them.
func asked(t *testing.T, s *httptest.Server, method, path string, headers map[string]string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func away() Options {
	return Options{
		Look:   func(context.Context) (Look, error) { return Look{}, errors.New("away") },
		Config: func(context.Context) (Config, error) { return Config{}, errors.New("away, too") },
		Object: func(_ context.Context, kind, _, _ string) ([]byte, bool, error) {
			return []byte("kind: " + kind), kind == "VirtualService", nil
		},
	}
}

// Who may ask for what. Each line fails if its check is taken out.
func TestGuard(t *testing.T) {
	s := served(t, away())
	know := "Bearer secret"
	for name, c := range map[string]struct {
		method, path string
		headers      map[string]string
		want         int
	}{
		"the page":                     {"GET", "/", nil, 200},
		"its figures":                  {"GET", "/api/now", map[string]string{"Authorization": know}, 200},
		"by the name of loopback":      {"GET", "/api/now", map[string]string{"Authorization": know, "Host": "localhost:1"}, 200},
		"of its own page":              {"GET", "/api/now", map[string]string{"Authorization": know, "Origin": s.URL, "Sec-Fetch-Site": "same-origin"}, 200},
		"by a link":                    {"GET", "/", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		"without the token":            {"GET", "/api/now", nil, 401},
		"with another":                 {"GET", "/api/now", map[string]string{"Authorization": "Bearer secre"}, 401},
		"with none":                    {"GET", "/api/now", map[string]string{"Authorization": "Bearer "}, 401},
		"the objects":                  {"GET", "/api/config", nil, 401},
		"an object":                    {"GET", "/api/object?kind=VirtualService", nil, 401},
		"the past":                     {"GET", "/api/history?kind=pods", nil, 401},
		"by a stranger's name":         {"GET", "/", map[string]string{"Host": "evil.example:80"}, 403},
		"by a name like loopback's":    {"GET", "/", map[string]string{"Host": "127.0.0.1.evil.example"}, 403},
		"of another page":              {"GET", "/api/now", map[string]string{"Authorization": know, "Origin": "http://evil.example"}, 403},
		"of another port":              {"GET", "/api/now", map[string]string{"Authorization": know, "Origin": "http://127.0.0.1:1"}, 403},
		"of a file":                    {"GET", "/api/now", map[string]string{"Authorization": know, "Origin": "null"}, 403},
		"as a picture of another page": {"GET", "/", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		"in a frame":                   {"GET", "/", map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		"to change something":          {"POST", "/api/now", map[string]string{"Authorization": know}, 405},
		"before a request across":      {"OPTIONS", "/api/now", nil, 405},
		"a file that is not there":     {"GET", "/../../etc/passwd", nil, 404},
		"a window of nothing":          {"GET", "/api/now?window=0", map[string]string{"Authorization": know}, 400},
		"a window of days":             {"GET", "/api/now?window=100000", map[string]string{"Authorization": know}, 400},
		"the past of no kind":          {"GET", "/api/history?kind=secrets", map[string]string{"Authorization": know}, 400},
		"no object":                    {"GET", "/api/object?kind=Secret&name=x", map[string]string{"Authorization": know}, 404},
	} {
		code, text, headers := asked(t, s, c.method, c.path, c.headers)
		if code != c.want {
			t.Errorf("%s: %d, want %d: %s", name, code, c.want, text)
		}
		if code == 200 && (!strings.Contains(headers.Get("Content-Security-Policy"), "default-src 'none'") || headers.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s: headers %v", name, headers)
		}
	}
	if code, _, _ := asked(t, served(t, away()), "GET", "/api/object?kind=VirtualService", map[string]string{"Authorization": know}); code != 200 {
		t.Errorf("an object: %d", code)
	}
}

// What the browser was opened with is of use once.
func TestTokenIsTakenOnce(t *testing.T) {
	s := served(t, away())
	if code, _, _ := asked(t, s, "GET", "/api/token", map[string]string{"Authorization": "Bearer secret"}); code != 401 {
		t.Errorf("by the token: %d", code)
	}
	for _, want := range []int{200, 401} {
		code, text, _ := asked(t, s, "GET", "/api/token", map[string]string{"Authorization": "Once first"})
		if code != want || (code == 200) != strings.Contains(text, "secret") {
			t.Errorf("%d, want %d: %s", code, want, text)
		}
	}
}

// A mesh that is away is said, and its last figures stay; one that was never
// there has none.
func TestAway(t *testing.T) {
	var there atomic.Bool
	var looks atomic.Int64
	o := away()
	o.Look = func(context.Context) (Look, error) {
		if n := int(looks.Add(1)); there.Load() {
			return at(n, float64(n)), nil
		}
		return Look{}, errors.New("away")
	}
	s := served(t, o)
	now := func() (out Now) {
		_, text, _ := asked(t, s, "GET", "/api/now", map[string]string{"Authorization": "Bearer secret"})
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return out
	}
	until := func(what string, holds func(Now) bool) {
		for end := time.Now().Add(time.Minute); !holds(now()); {
			if time.Now().After(end) {
				t.Fatalf("%s: %+v", what, now())
			}
		}
	}
	until("away", func(n Now) bool { return n.Failed == "away" && n.At.IsZero() })
	there.Store(true)
	until("there", func(n Now) bool { return n.Failed == "" && n.Seconds > 0 && len(n.Workloads) == 1 })
	there.Store(false)
	until("away again", func(n Now) bool { return n.Failed == "away" && len(n.Workloads) == 1 })
	_, text, _ := asked(t, s, "GET", "/api/config", map[string]string{"Authorization": "Bearer secret"})
	if !strings.Contains(text, `"failed":"away, too"`) || !strings.Contains(text, `"objects":[]`) {
		t.Error(text)
	}
}

// Reading the objects goes on when the page that asked has gone, once at a time.
func TestObjectsAreReadOnce(t *testing.T) {
	reads, read := make(chan struct{}, 10), make(chan Config)
	r := recent{read: func(context.Context) (Config, error) {
		reads <- struct{}{}
		return <-read, nil
	}}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if c := r.get(gone); len(c.Objects) != 0 {
			t.Fatal(c)
		}
	}
	read <- Config{Objects: []Object{{Name: "a"}}}
	if c := r.get(t.Context()); len(c.Objects) != 1 || len(reads) != 1 {
		t.Errorf("%+v after %d reads", c, len(reads))
	}
}

// Pages that can send no token are below it, and reach nothing elsewhere.
func TestBelow(t *testing.T) {
	s := httptest.NewServer(Guard(Below("secret", "first", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("path " + r.URL.EscapedPath() + " query " + r.URL.RawQuery))
	}))))
	t.Cleanup(s.Close)
	for path, want := range map[string]string{
		"/secret/": "path / query ", "/secret/stats%2Fa?format=json": "path /stats%2Fa query format=json",
		"/": "", "/secre/": "", "/secret2/": "", "/stats?secret": "", "//secret/": "", "/%2e/secret/": "",
	} {
		code, text, headers := asked(t, s, "GET", path, nil)
		if want == "" && (code != 401 || strings.Contains(text, "path")) || want != "" && (code != 200 || text != want) {
			t.Errorf("%s: %d %s, want %q", path, code, text, want)
		}
		if csp := headers.Get("Content-Security-Policy"); want != "" && (!strings.Contains(csp, "default-src 'self'") || headers.Get("Referrer-Policy") != "no-referrer") {
			t.Errorf("%s: %v", path, headers)
		}
	}
	if code, text, _ := asked(t, s, "GET", "/first/", nil); code != 200 || text != "path / query " {
		t.Errorf("what is of use once leads to %d %s", code, text)
	}
	if code, _, _ := asked(t, s, "GET", "/first/", nil); code != 401 {
		t.Errorf("it is of use twice: %d", code)
	}
	if code, _, _ := asked(t, s, "GET", "/secret/", map[string]string{"Host": "evil.example"}); code != 403 {
		t.Errorf("by a stranger's name: %d", code)
	}
}
