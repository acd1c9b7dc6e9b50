package injector

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/admission"
)

func reviewer(t testing.TB) *Reviewer {
	t.Helper()
	v, err := ParseConfig("", "", "")
	if err != nil {
		t.Fatal(err)
	}
	v.NativeSidecars = true
	return NewReviewer(func() (Values, error) { return v, nil }, nil, slog.New(slog.DiscardHandler))
}

// reviewOf is the request that the API server sends for a pod.
func reviewOf(t testing.TB, pod *corev1.Pod, change func(*admissionv1.AdmissionRequest)) []byte {
	t.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	q := &admissionv1.AdmissionRequest{UID: "u1", Namespace: "shop", Operation: admissionv1.Create}
	q.Kind.Kind, q.Kind.Version, q.Object.Raw = "Pod", "v1", raw
	if change != nil {
		change(q)
	}
	review := admissionv1.AdmissionReview{Request: q}
	review.APIVersion, review.Kind = "admission.k8s.io/v1", "AdmissionReview"
	text, err := json.Marshal(review)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// post sends a body to the webhook.
func post(r *Reviewer, body io.Reader) *httptest.ResponseRecorder {
	q := httptest.NewRequest(http.MethodPost, "/inject", body)
	q.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, q)
	return w
}

func answerTo(t testing.TB, r *Reviewer, text []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	w := post(r, bytes.NewReader(text))
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if review.Kind != "AdmissionReview" || review.Response == nil || review.Response.UID != "u1" {
		t.Fatalf("the answer is %s", w.Body)
	}
	return review.Response
}

func TestReview(t *testing.T) {
	r := reviewer(t)
	plain := podWith(nil)
	for name, c := range map[string]struct {
		pod     *corev1.Pod
		change  func(*admissionv1.AdmissionRequest)
		allowed bool
		patched bool
		says    string
	}{
		"injected":         {pod: plain, allowed: true, patched: true},
		"not wanted":       {pod: podWith(map[string]string{injectKey: "false"}), allowed: true},
		"kube-system":      {pod: plain, change: func(q *admissionv1.AdmissionRequest) { q.Namespace = "kube-system" }, allowed: true},
		"an update":        {pod: plain, change: func(q *admissionv1.AdmissionRequest) { q.Operation = admissionv1.Update }, allowed: true},
		"another kind":     {pod: plain, change: func(q *admissionv1.AdmissionRequest) { q.Kind.Kind = "Node" }, allowed: true},
		"a wrong value":    {pod: podWith(map[string]string{"sidecar.istio.io/proxyCPU": "x"}), says: "proxyCPU"},
		"a wrong label":    {pod: podWith(map[string]string{injectKey: "x"}), says: injectKey},
		"a strange object": {pod: plain, change: func(q *admissionv1.AdmissionRequest) { q.Object.Raw = []byte(`{"spec":1}`) }, says: "no pod"},
	} {
		got := answerTo(t, r, reviewOf(t, c.pod, c.change))
		if got.Allowed != c.allowed || (got.Patch != nil) != c.patched {
			t.Errorf("%s: allowed %t, patch %s", name, got.Allowed, got.Patch)
		}
		if c.says != "" && (got.Result == nil || !strings.Contains(got.Result.Message, c.says)) {
			t.Errorf("%s: says %+v", name, got.Result)
		}
	}
	if got := answerTo(t, r, reviewOf(t, podWith(map[string]string{"sidecar.istio.io/statsCompression": "gzip"}), nil)); len(got.Warnings) != 1 {
		t.Errorf("warnings: %v", got.Warnings)
	}
}

// TestBeforeValues: a pod is refused, not let in without a proxy.
func TestBeforeValues(t *testing.T) {
	r := NewReviewer(func() (Values, error) { return Values{}, errors.New("not read yet") }, nil, slog.New(slog.DiscardHandler))
	if got := answerTo(t, r, reviewOf(t, podWith(nil), nil)); got.Allowed || got.Result.Code != http.StatusInternalServerError {
		t.Errorf("%+v", got)
	}
}

// TestGarbage is refused, and nothing is left of it.
func TestGarbage(t *testing.T) {
	r := reviewer(t)
	for name, c := range map[string]struct {
		body io.Reader
		want int
	}{
		"nothing":           {strings.NewReader(""), 400},
		"not JSON":          {strings.NewReader("\x16\x03\x01"), 400},
		"another kind":      {strings.NewReader(`{"apiVersion":"v1","kind":"Pod"}`), 400},
		"an old version":    {strings.NewReader(`{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1"}}`), 400},
		"no request":        {strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), 400},
		"deep":              {strings.NewReader(strings.Repeat(`{"a":[`, 1000)), 400},
		"large":             {strings.NewReader(strings.Repeat(" ", admission.MaxReview+1)), 413},
		"large, in chunks":  {io.MultiReader(strings.NewReader(strings.Repeat(" ", admission.MaxReview+1))), 413},
		"the body breaks":   {io.MultiReader(strings.NewReader("{"), broken{}), 400},
		"many small levels": {strings.NewReader(strings.Repeat(`[`, admission.MaxReview)), 400},
	} {
		if w := post(r, c.body); w.Code != c.want {
			t.Errorf("%s: %d %.100s", name, w.Code, w.Body)
		}
	}
	for _, q := range []*http.Request{
		httptest.NewRequest(http.MethodGet, "/inject", nil),
		httptest.NewRequest(http.MethodPost, "/inject", strings.NewReader("{}")),
	} {
		w := httptest.NewRecorder()
		if r.ServeHTTP(w, q); w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusUnsupportedMediaType {
			t.Errorf("%s: %d", q.Method, w.Code)
		}
	}
	if !r.Idle() {
		t.Error("a refused request still counts as being read")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the caller went away") }

// FuzzReview: no body brings the webhook down, and what it lets in with a patch
// is a pod with a proxy.
func FuzzReview(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(reviewOf(f, g.pod(f), nil))
	}
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"kind":"Pod"},"operation":"CREATE","object":{"metadata":{"annotations":{"sidecar.istio.io/status":"{}"}}}}}`))
	r := reviewer(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		w := post(r, bytes.NewReader(body))
		if w.Code != http.StatusOK {
			return
		}
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil {
			t.Fatalf("the answer is %s", w.Body)
		}
		if p := review.Response.Patch; p != nil && !json.Valid(p) {
			t.Errorf("the patch is %s", p)
		}
	})
}

// FuzzInject: whatever a pod says, a second injection changes nothing.
func FuzzInject(f *testing.F) {
	f.Add(uint64(1), "sidecar.istio.io/status", `{"containers":["app"]}`)
	f.Add(uint64(2), "proxy.istio.io/overrides", `{"containers":[{"name":"istio-proxy","image":"x"}]}`)
	f.Add(uint64(3), "inject.istio.io/templates", "gateway")
	f.Add(uint64(4), "proxy.istio.io/config", "proxyMetadata: {A: b}")
	f.Fuzz(func(t *testing.T, seed uint64, annotation, value string) {
		pod := randomPod(rand.New(rand.NewPCG(seed, 0)))
		pod.Annotations[annotation] = value
		v := Values{NativeSidecars: seed%2 == 0}
		once, err := Inject(pod, v)
		if err != nil {
			return
		}
		twice, err := Inject(once, v)
		if err != nil {
			t.Fatalf("the second injection: %v", err)
		}
		if d := cmp.Diff(once, twice); d != "" {
			t.Errorf("the second injection differs:\n%s", d)
		}
	})
}

// TestProperty: Inject(Inject(p)) == Inject(p), and no argument is changed.
func TestProperty(t *testing.T) {
	for seed := range uint64(500) {
		pod := randomPod(rand.New(rand.NewPCG(seed, 1)))
		kept := pod.DeepCopy()
		v := Values{NativeSidecars: seed%3 > 0}
		once, err := Inject(pod, v)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if d := cmp.Diff(kept, pod); d != "" {
			t.Fatalf("seed %d: the argument was changed:\n%s", seed, d)
		}
		testAgain(t, once, v)
		testPatch(t, pod, once, v)
	}
}

// TestLateContainer: another webhook adds a container after injection, and the
// second call makes it part of the mesh as if it had always been there.
func TestLateContainer(t *testing.T) {
	late := corev1.Container{Name: "late", ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(7)}}}}
	v := Values{NativeSidecars: true}
	for _, gateway := range []bool{false, true} {
		before := podWith(map[string]string{scrapeAnnotation: "true", portAnnotation: "81"})
		if gateway {
			before.Annotations[templatesAnnotation] = templateGateway
			before.Spec.Containers[0] = corev1.Container{Name: proxyName, Image: "auto"}
		}
		first, err := Inject(before, v)
		if err != nil {
			t.Fatal(err)
		}
		first.Spec.Containers = append(first.Spec.Containers, *late.DeepCopy())
		again, err := Inject(first, v)
		if err != nil {
			t.Fatal(err)
		}
		before.Spec.Containers = append(before.Spec.Containers, *late.DeepCopy())
		want, err := Inject(before, v)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, again); d != "" {
			t.Errorf("gateway %t:\n%s", gateway, d)
		}
	}
}

// randomPod has some of everything that injection looks at.
func randomPod(r *rand.Rand) *corev1.Pod {
	p := podWith(map[string]string{})
	p.Labels = map[string]string{}
	some := func() bool { return r.IntN(2) == 0 }
	if some() {
		p.Annotations[scrapeAnnotation], p.Annotations[portAnnotation] = "true", "8080"
	}
	if some() {
		p.Annotations["traffic.sidecar.istio.io/excludeInboundPorts"] = "22"
	}
	if some() {
		p.Labels["app"] = "web"
	}
	for i := range r.IntN(3) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: string(rune('a' + i))})
	}
	if some() {
		p.Spec.InitContainers = []corev1.Container{{Name: "first"}}
	}
	if some() {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: proxyName, Image: "auto", Env: []corev1.EnvVar{{Name: "A", Value: "1"}}})
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if c.Name != proxyName && some() {
			c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}
			c.LivenessProbe = &corev1.Probe{ProbeHandler: randomHandler(r)}
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}}}
		}
	}
	return p
}

func randomHandler(r *rand.Rand) corev1.ProbeHandler {
	switch r.IntN(4) {
	case 0:
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(80)}}
	case 1:
		return corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}
	case 2:
		return corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 80}}
	}
	return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}
}

// BenchmarkReview is one pod from the API server's bytes to the answer's; the
// design's limit is 4 ms.
func BenchmarkReview(b *testing.B) {
	r := reviewer(b)
	text := reviewOf(b, goldens(b)["sidecar"].pod(b), nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if w := post(r, bytes.NewReader(text)); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
