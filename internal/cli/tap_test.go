package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/internal/tap"
)

func proxied(namespace, name, workload string, labels map[string]string) controller.PodStatus {
	return controller.PodStatus{Namespace: namespace, Name: name, Workload: workload, Labels: labels, Synced: "yes", Sidecar: true, Phase: "Running"}
}

// tappable is a mesh of Service reviews with two versions, an app beside it that has
// the name of a Service elsewhere, and pods without an Envoy.
func tappable(pages map[string]string) reach {
	reviews := map[string]string{"app": "reviews"}
	bare := proxied("shop", "bare-x", "bare", nil)
	bare.Synced = ""
	library := proxied("shop", "library-x", "library", nil)
	library.Proxyless = true
	pods := []controller.PodStatus{
		proxied("shop", "reviews-v1-a", "reviews-v1", reviews), proxied("shop", "reviews-v2-b", "reviews-v2", reviews), proxied("shop", "reviews-v2-c", "reviews-v2", reviews),
		proxied("shop", "front-d", "front", nil), proxied("other", "front-e", "front", nil), bare, library,
	}
	for i := range pods {
		pods[i].IP = fmt.Sprintf("10.0.0.%d", i+1)
	}
	out := mesh(nil, pods...)
	out.services = func(context.Context, string) ([]service, error) {
		return []service{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews"}, Spec: corev1.ServiceSpec{Selector: reviews}}}, nil
	}
	out.stream = func(ctx context.Context, p controller.PodStatus, _ string) (io.ReadCloser, error) {
		text, there := pages[p.Name]
		if !there {
			return nil, errors.New("away")
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(text), silent{ctx}), io.NopCloser(nil)}, nil
	}
	return out
}

// silent is a stream on which nothing comes.
type silent struct{ context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.Done()
	return 0, s.Err()
}

func TestChoose(t *testing.T) {
	r := tappable(nil)
	all, err := r.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, namespace, want string }{
		{"reviews", "", "reviews-v1-a reviews-v2-b reviews-v2-c"},
		{"svc/reviews", "shop", "reviews-v1-a reviews-v2-b reviews-v2-c"},
		{"shop/reviews", "", "reviews-v1-a reviews-v2-b reviews-v2-c"},
		{"reviews-v2", "", "reviews-v2-b reviews-v2-c"},
		{"deploy/reviews-v2", "", "reviews-v2-b reviews-v2-c"},
		{"reviews-v2-b", "", "reviews-v2-b"},
		{"pod/reviews-v1", "", "reviews-v1-a"},
		{"front", "other", "front-e"},
		{"reviews-v1-", "", "reviews-v1-a"},
		{"front", "", "!front is in namespaces shop and other: say which with -n"},
		{"reviews-v", "", "!3 pods begin so"},
		{"nosuch", "", "!nor is there such a Service or workload"},
		{"svc/front", "", `!service "front": there is none`},
		{"bare", "", "!pod shop/bare-x has no proxy"},
		{"library", "", "!pod shop/library-x has no Envoy"},
	} {
		got, err := r.choose(t.Context(), c.name, c.namespace)
		if says, wrong := strings.CutPrefix(c.want, "!"); wrong {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, says)
			}
			continue
		}
		var names []string
		for _, p := range all {
			if err == nil && got.takes(p) {
				names = append(names, p.Name)
			}
		}
		if err != nil || strings.Join(names, " ") != c.want {
			t.Errorf("%s: %v %v, want %s", c.name, names, err, c.want)
		}
	}
}

// Who may not list Services watches pods and workloads.
func TestChooseWithoutServices(t *testing.T) {
	r := tappable(nil)
	r.services = func(context.Context, string) ([]service, error) {
		return nil, apierrors.NewForbidden(corev1.Resource("services"), "", errors.New("no"))
	}
	if got, err := r.choose(t.Context(), "reviews-v2", "shop"); err != nil || got.workload != "reviews-v2" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.choose(t.Context(), "svc/reviews", "shop"); !apierrors.IsForbidden(err) {
		t.Error(err)
	}
}

const entries = `{"time":"2026-11-23T09:00:00.5Z","direction":"outbound","event":"request","from":{"namespace":"shop","workload":"reviews-v1","pod":"reviews-v1-a"},"to":{"namespace":"shop","workload":"front","address":"10.0.0.4:80"},"protocol":"HTTP/2","method":"POST","authority":"front","path":"/x","status":503,"flags":"UF","details":"connect","route":"canary","attempts":3,"durationMs":1.25,"receivedBytes":10,"sentBytes":20,"grpcStatus":"Unavailable","requestId":"a-b","dropped":7}

{"time":"2026-11-23T09:00:01Z","direction":"inbound","event":"request","from":{"address":"10.9.9.9:5"},"to":{"namespace":"shop","pod":"reviews-v1-a"},"protocol":"HTTP/1.1","method":"GET","authority":"evil\u001b[2J\u202e","path":"/\n\u0085\ud83d\ude00\udb40\udc01","status":403,"details":"rbac","deniedBy":"shop/no","durationMs":0.1,"receivedBytes":0,"sentBytes":0}
{"time":"2026-11-23T09:00:02Z","direction":"inbound","event":"closed","from":{"address":"10.0.0.5:5"},"to":{"namespace":"shop","pod":"reviews-v1-a"},"protocol":"TCP","details":"","durationMs":1000,"receivedBytes":1,"sentBytes":2}
`

// tapRun watches one pod until most entries have come.
func tapRun(t *testing.T, r reach, name, output string, most int) (out, problems string, err error) {
	t.Helper()
	var stdout, stderr locked
	view := &tapping{a: &app{out: &stdout, err: &stderr, output: output}, reach: r, most: most, refresh: 10 * time.Millisecond}
	if view.wanted, err = r.choose(t.Context(), name, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = view.run(ctx)
	return stdout.String(), stderr.String(), err
}

type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestTapText(t *testing.T) {
	zone := time.Local
	time.Local = time.UTC
	defer func() { time.Local = zone }()
	out, problems, err := tapRun(t, tappable(map[string]string{"reviews-v1-a": entries}), "reviews-v1", "", 3)
	if err != nil || problems != "watching 1 pod: shop/reviews-v1-a\n" {
		t.Errorf("%v, %q", err, problems)
	}
	want := []string{
		"09:00:00.500 out shop/reviews-v1-a > shop/front-d POST front/x 503 UF 1.2ms 10/20B grpc=Unavailable because=connect route=canary attempts=3 id=a-b left-out-before=7",
		`09:00:01.000 in  10.9.9.9:5 > shop/reviews-v1-a GET evil\u001b[2J\u202e/\u000a\u0085😀\ue0001 403 - 0.1ms 0/0B denied-by=shop/no`,
		"09:00:02.000 in  other/front-e > shop/reviews-v1-a TCP closed - 1000.0ms 1/2B",
	}
	if got := strings.Split(strings.TrimSuffix(out, "\n"), "\n"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", out, strings.Join(want, "\n"))
	}
}

// JSON has all of an entry, on a line each that moves no cursor.
func TestTapJSON(t *testing.T) {
	out, _, err := tapRun(t, tappable(map[string]string{"reviews-v1-a": entries}), "reviews-v1", "json", 3)
	if err != nil {
		t.Fatal(err)
	}
	lines, given := strings.Split(strings.TrimSuffix(out, "\n"), "\n"), json.NewDecoder(strings.NewReader(entries))
	for _, line := range lines {
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%q has %U", line, r)
			}
		}
		var got, want tap.Entry
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if err := given.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got.Path != want.Path || got.Authority != want.Authority || got.Dropped != want.Dropped || !strings.HasPrefix(line, `{"pod":"shop/reviews-v1-a","time"`) {
			t.Errorf("%s became %+v, want %+v", line, got, want)
		}
	}
	if len(lines) != 3 {
		t.Errorf("%d lines", len(lines))
	}
}

// One pod that does not answer is said; if none does, that is the error.
func TestTapUnanswered(t *testing.T) {
	r := tappable(map[string]string{"reviews-v2-b": ""})
	stream, said := r.stream, make(chan struct{})
	r.stream = func(ctx context.Context, p controller.PodStatus, path string) (io.ReadCloser, error) {
		if p.Name == "reviews-v2-b" {
			return stream(ctx, p, path)
		}
		select {
		case <-said: // a second time: the first was said
			return io.NopCloser(strings.NewReader(entries)), nil
		default:
			close(said)
			return nil, errors.New("away")
		}
	}
	out, problems, err := tapRun(t, r, "reviews-v2", "json", 1)
	if err != nil || !strings.Contains(problems, "shop/reviews-v2-c is not watched: away\n") || strings.Count(out, "\n") != 1 {
		t.Errorf("%v, %q, %s", err, problems, out)
	}
	if _, problems, err := tapRun(t, tappable(nil), "reviews-v2", "", 0); err == nil || err.Error() != "away" || strings.Contains(problems, "watching") {
		t.Errorf("%v, %q", err, problems)
	}
	if code, _, said := run(t, "tap", "x", "--status", "nosuch1"); code != 2 || !strings.Contains(said, "--status") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if code, _, said := run(t, "tap", "x", "--max", "-1"); code != 2 || !strings.Contains(said, "--max") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// A pod that comes while its workload is watched is watched too, and one whose
// proxy was away for a while again.
func TestTapFollowsAWorkload(t *testing.T) {
	pages := map[string]string{"reviews-v2-b": "", "reviews-v2-c": entries}
	r := tappable(pages)
	all, err := r.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var looks, asked int
	r.list = func(context.Context) ([]controller.PodStatus, error) {
		if looks++; looks < 4 {
			return all[:2], nil // reviews-v2-c is not there yet
		}
		return all, nil
	}
	stream := r.stream
	var mu sync.Mutex
	r.stream = func(ctx context.Context, p controller.PodStatus, path string) (io.ReadCloser, error) {
		mu.Lock()
		defer mu.Unlock()
		if p.Name == "reviews-v2-c" {
			if asked++; asked < 3 {
				return nil, errors.New("starting")
			}
		}
		return stream(ctx, p, path)
	}
	out, problems, err := tapRun(t, r, "reviews-v2", "json", 3)
	if err != nil || strings.Count(out, `{"pod":"shop/reviews-v2-c"`) != 3 || strings.Count(problems, "starting") != 1 || !strings.HasPrefix(problems, "watching 1 pod: shop/reviews-v2-b\n") {
		t.Errorf("%v, %q\n%s", err, problems, out)
	}
}

// A pod that never answers does not keep the others from being watched.
func TestTapOfANodeThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tappable(map[string]string{"reviews-v2-b": ""})
		stream := r.stream
		r.stream = func(ctx context.Context, p controller.PodStatus, path string) (io.ReadCloser, error) {
			if p.Name == "reviews-v2-c" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return stream(ctx, p, path)
		}
		_, problems, err := tapRun(t, r, "reviews-v2", "", 0) // until its minute is over
		if err != nil || problems != "shop/reviews-v2-c is not watched: its agent does not answer within 10s\nwatching 1 pod: shop/reviews-v2-b\n" {
			t.Errorf("%v, %q", err, problems)
		}
	})
}

// That an agent is old is what its answer's code says, not a pod's name.
func TestTapOfAnOldAgent(t *testing.T) {
	for err, old := range map[error]bool{
		errors.New("port 15020 of pod shop/x-7404f: away"):                         false,
		page{pod: "x"}.failed(notOK{http.StatusServiceUnavailable, "404 viewers"}): false,
		page{pod: "x"}.failed(notOK{http.StatusNotFound, "no such page"}):          true,
	} {
		r := tappable(nil)
		r.stream = func(context.Context, controller.PodStatus, string) (io.ReadCloser, error) { return nil, err }
		if _, _, got := tapRun(t, r, "reviews-v1", "", 0); got == nil || strings.Contains(got.Error(), "without tap") != old {
			t.Errorf("%v became %v", err, got)
		}
	}
}

// Nobody is named by an address that several pods have, nor by a node's.
func TestTapOfSharedAddresses(t *testing.T) {
	r := tappable(map[string]string{"reviews-v1-a": entries})
	all, err := r.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all = slices.Clone(all)
	all[3].HostNetwork = true                                                          // front-d, of 10.0.0.4
	all = append(all, controller.PodStatus{Namespace: "x", Name: "y", IP: "10.0.0.5"}) // as front-e
	r.list = func(context.Context) ([]controller.PodStatus, error) { return all, nil }
	out, _, err := tapRun(t, r, "reviews-v1", "", 3)
	if err != nil || !strings.Contains(out, "> shop/front POST") || !strings.Contains(out, " 10.0.0.5:5 >") {
		t.Errorf("%v\n%s", err, out)
	}
}
