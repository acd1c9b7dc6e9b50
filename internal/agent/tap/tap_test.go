package tap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/tap"
)

// watchable is a server whose Envoy does as it is told, and its page.
type watchable struct {
	*Server
	page *httptest.Server
	logs atomic.Bool  // what Envoy was told last
	told atomic.Int32 // how often
	pid  atomic.Int32
	fail atomic.Bool
}

func newWatchable(t *testing.T) *watchable {
	t.Helper()
	w := &watchable{}
	w.pid.Store(1)
	w.Server = New(Options{
		Self: tap.Peer{Namespace: "shop", Workload: "reviews-v1", Pod: "reviews-v1-abc"}, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
		PID: func() int { return int(w.pid.Load()) },
		Log: func(_ context.Context, on bool) error {
			if w.fail.Load() {
				return io.ErrUnexpectedEOF
			}
			w.logs.Store(on)
			w.told.Add(1)
			return nil
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	w.page = httptest.NewServer(w.Server)
	t.Cleanup(func() {
		w.page.CloseClientConnections()
		w.page.Close()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return w
}

func (w *watchable) watch(t *testing.T, query string, status int) (*http.Response, *json.Decoder) {
	t.Helper()
	resp, err := http.Get(w.page.URL + "/tap?" + query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != status {
		t.Fatalf("%q: %s, not %d", query, resp.Status, status)
	}
	return resp, json.NewDecoder(resp.Body)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(5*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// Envoy logs while somebody watches and at no other time: what was left by another
// agent is taken back, and an Envoy that starts anew is told again.
func TestLogsWhileWatched(t *testing.T) {
	w := newWatchable(t)
	eventually(t, "Envoy is told not to log", func() bool { return w.told.Load() == 1 && !w.logs.Load() })
	one, _ := w.watch(t, "", http.StatusOK)
	if !w.logs.Load() {
		t.Fatal("the answer began, and Envoy does not log")
	}
	two, _ := w.watch(t, "status=5xx", http.StatusOK)
	if n := w.told.Load(); n != 2 {
		t.Errorf("Envoy was told %d times; a second viewer changes nothing", n)
	}
	w.logs.Store(false) // a new Envoy knows nothing
	w.pid.Store(2)
	eventually(t, "the new Envoy logs", w.logs.Load)
	_ = one.Body.Close()
	eventually(t, "one has gone", func() bool { return w.watching() == 1 })
	if !w.logs.Load() {
		t.Error("Envoy does not log, and one still watches")
	}
	w.fail.Store(true)
	_ = two.Body.Close()
	eventually(t, "both have gone", func() bool { return w.watching() == 0 })
	w.fail.Store(false)
	eventually(t, "Envoy, which did not answer for a while, no longer logs", func() bool { return !w.logs.Load() })
}

func TestRefused(t *testing.T) {
	w := newWatchable(t)
	w.watch(t, "status=nosuch1", http.StatusBadRequest)
	for range maxViewers {
		w.watch(t, "", http.StatusOK)
	}
	resp, _ := w.watch(t, "", http.StatusServiceUnavailable)
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), "8 viewers") {
		t.Errorf("%s", text)
	}
}

// hurried is an answer whose deadlines for writing are of 300 ms instead of stalled,
// from now on.
type hurried struct {
	http.ResponseWriter
	now *atomic.Bool
}

func (h hurried) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h hurried) SetWriteDeadline(at time.Time) error {
	if h.now.Load() {
		at = at.Add(300*time.Millisecond - stalled)
	}
	return http.NewResponseController(h.ResponseWriter).SetWriteDeadline(at)
}

// What a viewer is too slow for is left out and counted, exactly; one that reads
// nothing holds up nobody, and is left in the end.
func TestSlowViewers(t *testing.T) {
	w := newWatchable(t)
	_, lines := w.watch(t, "path=/a", http.StatusOK)
	var hurry atomic.Bool // once it watches: the machine may stall
	page := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.ServeHTTP(hurried{rw, &hurry}, r)
	}))
	defer page.Close()
	deaf, err := net.Dial("tcp", page.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	fmt.Fprint(deaf, "GET /tap HTTP/1.1\r\nHost: a\r\n\r\n")
	line := make([]byte, len("HTTP/1.1 200 OK"))
	if _, err := io.ReadFull(deaf, line); err != nil || string(line) != "HTTP/1.1 200 OK" {
		t.Fatalf("%s, %v", line, err)
	}
	eventually(t, "two watch", func() bool { return w.watching() == 2 })
	hurry.Store(true)
	go func() {
		long := "/a" + strings.Repeat("x", 1000)
		for i := uint32(0); t.Context().Err() == nil; i++ {
			e := &tap.Entry{Path: long, Status: i}
			if w.watching() == 1 {
				e.Path = "/a/last" // the deaf one was left
			}
			w.show(e)
		}
	}()
	for seen := uint32(0); ; {
		var e tap.Entry
		if err := lines.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if seen += uint32(e.Dropped); e.Status != seen {
			t.Fatalf("entry %d comes after %d that were seen or left out", e.Status, seen)
		}
		if seen++; e.Path == "/a/last" {
			break
		}
	}
}

// timed is an answer that tells which deadline each piece of it had.
type timed struct {
	http.ResponseWriter
	deadline time.Time
	flushed  chan time.Time
	written  chan time.Time
}

func (w *timed) SetWriteDeadline(at time.Time) error { w.deadline = at; return nil }

func (w *timed) FlushError() error { w.flushed <- w.deadline; return nil }

func (w *timed) Write(p []byte) (int, error) { w.written <- w.deadline; return len(p), nil }

// A viewer to whom nothing came for longer than it may be slow is still sent the next
// entry, one too long for the server's buffer too: its time runs from that entry on.
func TestIdleViewers(t *testing.T) {
	s := New(Options{Metrics: prometheus.NewRegistry()})
	s.stalled = time.Millisecond
	w := &timed{ResponseWriter: httptest.NewRecorder(), flushed: make(chan time.Time), written: make(chan time.Time)}
	v := &viewer{entries: make(chan *tap.Entry, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.write(ctx, v, w, http.NewResponseController(w)) }()
	for range 2 {
		idle := <-w.flushed
		eventually(t, "its deadline is over", func() bool { return time.Now().After(idle) })
		sent := time.Now()
		v.entries <- &tap.Entry{Path: "/" + strings.Repeat("&", 1000)}
		if deadline := <-w.written; deadline.Before(sent) {
			t.Errorf("an entry was written with a deadline that was over %v before it came", sent.Sub(deadline))
		}
	}
	<-w.flushed
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestDenier(t *testing.T) {
	for details, want := range map[string]string{
		"rbac_access_denied_matched_policy[ns[shop]-policy[no-secrets]-rule[0]]":   "shop/no-secrets",
		"rbac_access_denied_matched_policy[x-ns[a]-ns[shop]-policy[ext]-rule[12]]": "shop/ext",
		"rbac_access_denied_matched_policy[none]":                                  "none",
		"via_upstream": "", "": "", "rbac_access_denied": "",
		"x rbac_access_denied_matched_policy[none]": "",
	} {
		if got := denier(details); got != want {
			t.Errorf("%s: %q, want %q", details, got, want)
		}
	}
}

func TestEntries(t *testing.T) {
	w := newWatchable(t)
	long := strings.Repeat("é", 5000)
	in := w.request(tap.Inbound, &logv3.HTTPAccessLogEntry{
		CommonProperties: &logv3.AccessLogCommon{CustomTags: map[string]string{"peer": "shop/front", "principal": "spiffe://a/b", "flags": "-", "grpc": "-"}},
		Request:          &logv3.HTTPRequestProperties{Path: long, Authority: long, OriginalPath: ""},
		Response:         &logv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(403), ResponseCodeDetails: "rbac_access_denied_matched_policy[none]"},
	})
	if in.From.Workload != "front" || in.From.Principal != "spiffe://a/b" || in.To.Pod != "reviews-v1-abc" || in.Denied != "none" || in.Flags != "" {
		t.Errorf("%+v", in)
	}
	if len(in.Path) > maxPath+len("…") || len(in.Authority) > maxText+len("…") || !utf8.ValidString(in.Path+in.Authority) {
		t.Errorf("%d bytes of path, %d of authority", len(in.Path), len(in.Authority))
	}
	out := w.connection(tap.Outbound, &logv3.TCPAccessLogEntry{
		CommonProperties:     &logv3.AccessLogCommon{AccessLogType: logv3.AccessLogType_TcpConnectionEnd, CustomTags: map[string]string{"peer": "-/-"}},
		ConnectionProperties: &logv3.ConnectionProperties{ReceivedBytes: 3, SentBytes: 4},
	})
	if out.From.Pod != "reviews-v1-abc" || out.To != (tap.Peer{}) || out.Event != tap.Closed || out.Received != 3 || out.Sent != 4 {
		t.Errorf("%+v", out)
	}
	if e := w.connection(tap.Outbound, &logv3.TCPAccessLogEntry{CommonProperties: &logv3.AccessLogCommon{AccessLogType: logv3.AccessLogType_TcpPeriodic}}); e != nil {
		t.Errorf("%+v", e)
	}
}
