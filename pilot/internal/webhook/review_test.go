package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/netutil"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/weftmesh/weft/internal/admission"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// picky finds fault with every object named "bad", and warns of "odd".
func picky(o *config.Object) (own, other []diag.Diagnostic) {
	l := diag.For(o.Ref())
	switch o.Name {
	case "bad":
		l.Add(diag.Invalid, "spec.hosts[0]", "it is bad")
		l.Add(diag.NoEffect, "spec", "it does nothing")
		return l.All(), nil
	case "odd", "odd-new":
		l.Add(diag.NotFound, "spec.gateways[0]", "no such Gateway")
		return nil, l.All()
	}
	return nil, nil
}

func handler() *admission.Handler { return NewHandler(picky, nil, slog.New(slog.DiscardHandler)) }

func virtualService(metadata, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"namespace":"shop",%s},"spec":%s}`, metadata, spec)
}

// reviewOf is a request of the API server; old is "" for a new object.
func reviewOf(object, old string) string {
	if old == "" {
		return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE","object":%s}}`, object)
	}
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"UPDATE","object":%s,"oldObject":%s}}`, object, old)
}

func post(h http.Handler, body io.Reader) *httptest.ResponseRecorder {
	q := httptest.NewRequest(http.MethodPost, "/validate", body)
	q.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	return w
}

func TestReview(t *testing.T) {
	bad := virtualService(`"name":"bad"`, `{"hosts":["a"]}`)
	for name, c := range map[string]struct {
		object, old string
		refused     string // part of the message; "": allowed
		warned      string
	}{
		"good":                  {object: virtualService(`"name":"good"`, `{"hosts":["a"]}`)},
		"bad":                   {object: bad, refused: "IST0106 spec.hosts[0]: it is bad; correct the value"},
		"odd":                   {object: virtualService(`"name":"odd"`, `{}`), warned: "IST0101 spec.gateways[0]: no such Gateway"},
		"a name to be made":     {object: virtualService(`"generateName":"odd-"`, `{}`), warned: "IST0101"},
		"no such field":         {object: virtualService(`"name":"good"`, `{"hots":["a"]}`), refused: "spec.hots"},
		"a wrong type":          {object: virtualService(`"name":"good"`, `{"hosts":7}`), refused: "spec.hosts"},
		"a label on a mistake":  {object: virtualService(`"name":"bad","labels":{"a":"b"}`, `{"hosts":["a"]}`), old: bad},
		"a mistake for another": {object: virtualService(`"name":"bad"`, `{"hosts":["b"]}`), old: bad, refused: "IST0106"},
		"an end":                {object: virtualService(`"name":"bad","deletionTimestamp":"2026-01-01T00:00:00Z"`, `{"hosts":["b"]}`), old: bad},
		"no object":             {object: `null`, refused: "WEFT0"},
		"another kind":          {object: `{"apiVersion":"v1","kind":"Binding","metadata":{"name":"bad"}}`, warned: "WEFT0005"},
	} {
		w := post(handler(), strings.NewReader(reviewOf(c.object, c.old)))
		var got admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Response == nil || got.Response.UID != "u1" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		r := got.Response
		if r.Allowed != (c.refused == "") || !r.Allowed && !strings.Contains(r.Result.Message, c.refused) {
			t.Errorf("%s: allowed %t, %+v", name, r.Allowed, r.Result)
		}
		if all := strings.Join(r.Warnings, "\n"); (c.warned == "") != (all == "") || !strings.Contains(all, c.warned) {
			t.Errorf("%s: warnings %q", name, all)
		}
	}
}

// TestHostile: what is too large, too deep, too slow or garbage is refused, and
// nothing is left of it.
func TestHostile(t *testing.T) {
	h := handler()
	large := strings.Repeat(" ", admission.MaxReview+1)
	for name, c := range map[string]struct {
		body io.Reader
		want int
	}{
		"garbage":          {strings.NewReader("\x16\x03\x01"), 400},
		"large":            {strings.NewReader(large), 413},
		"large, in chunks": {io.MultiReader(strings.NewReader(large)), 413},
		"deep":             {strings.NewReader(reviewOf(virtualService(`"name":"good"`, strings.Repeat(`{"a":`, 10_000)), "")), 400},
	} {
		if w := post(h, c.body); w.Code != c.want {
			t.Errorf("%s: %d %.100s", name, w.Code, w.Body)
		}
	}
	if !h.Idle() {
		t.Error("a refused request still counts as being read")
	}
}

// TestSlowBody: a caller that stops sending is let go.
func TestSlowBody(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = admission.Serve(t.Context(), netutil.LimitListener(lis, 4), handler()) }()
	conn, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !bytes.Contains(answer, []byte(" 400 ")) {
		t.Errorf("answered %q, %v", answer, err)
	}
}

// FuzzReview: no body brings the webhook down, and every answer is one.
func FuzzReview(f *testing.F) {
	f.Add([]byte(reviewOf(virtualService(`"name":"bad"`, `{"hosts":["a"]}`), "")))
	f.Add([]byte(reviewOf(virtualService(`"generateName":"odd-"`, `{}`), virtualService(`"name":"odd"`, `7`))))
	f.Add([]byte(reviewOf(`{"kind":"List","apiVersion":"v1","items":[{}]}`, "")))
	h := handler()
	f.Fuzz(func(t *testing.T, body []byte) {
		w := post(h, bytes.NewReader(body))
		var got admissionv1.AdmissionReview
		if w.Code == http.StatusOK && (json.Unmarshal(w.Body.Bytes(), &got) != nil || got.Response == nil) {
			t.Fatalf("the answer is %s", w.Body)
		}
	})
}
