package shop

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// instance starts an HTTP service with its switch, and returns where it is.
func instance(t *testing.T, id Identity, app http.Handler) (*Control, *url.URL) {
	t.Helper()
	control := &Control{}
	server := httptest.NewServer(control.guard(id, app))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return control, at
}

func get(t *testing.T, at *url.URL, header http.Header) (int, Answer) {
	t.Helper()
	req := &http.Request{Method: http.MethodGet, URL: at, Header: header}
	res, err := http.DefaultClient.Do(req.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var out Answer
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, out
}

func set(t *testing.T, c *Control, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, target, nil))
	return w
}

func TestSwitchMakesAnInstanceFailAndRecover(t *testing.T) {
	id := Identity{"details", "v1", "details-1"}
	control, at := instance(t, id, Details(id))
	for _, step := range []struct {
		on   string
		want int
	}{{"false", 200}, {"true", 503}, {"false", 200}} {
		if w := set(t, control, "/fail?on="+step.on); w.Code != 200 {
			t.Fatalf("fail %s: %d %s", step.on, w.Code, w.Body)
		}
		got, answer := get(t, at, nil)
		if got != step.want || answer.Pod != "details-1" || (answer.Error != "") != (step.want == 503) {
			t.Errorf("fail=%s: got %d %+v, want %d", step.on, got, answer, step.want)
		}
	}
	if got, want := control.Status(), (Status{Delay: "0s", Answered: 2, Failed: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSwitchRefusesWhatItCannotDo(t *testing.T) {
	control := &Control{}
	for _, target := range []string{"/fail?on=maybe", "/fail", "/delay?for=-1s", "/delay?for=soon"} {
		if w := set(t, control, target); w.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 400", target, w.Code)
		}
	}
	if got, want := control.Status(), (Status{Delay: "0s"}); got != want {
		t.Errorf("a refused order changed the switch: %+v", got)
	}
}

func TestDelayHoldsACallUntilItsCallerLeaves(t *testing.T) {
	control := &Control{}
	set(t, control, "/delay?for=1h")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if control.admit(ctx) {
		t.Error("a call was answered before its delay")
	}
	set(t, control, "/delay?for=1ms")
	if !control.admit(t.Context()) {
		t.Error("a call was not answered after its delay")
	}
}

func TestFrontendShowsTheWorstOfItsParts(t *testing.T) {
	detailsID, reviewsID := Identity{"details", "v1", "d"}, Identity{"reviews", "v1", "r"}
	_, details := instance(t, detailsID, Details(detailsID))
	control, reviews := instance(t, reviewsID, Reviews(reviewsID, nil))
	id := Identity{"frontend", "v1", "f"}
	_, at := instance(t, id, Frontend(id, http.DefaultClient, details, reviews))

	got, page := get(t, at, http.Header{HeaderPeer: {"By=spiffe://x"}})
	if got != 200 || page.Peer != "By=spiffe://x" || len(page.Parts) != 2 || page.Parts[0].Service != "details" {
		t.Errorf("got %d %+v", got, page)
	}
	if page.Parts[1].Peer != "" {
		t.Errorf("the peer of one hop was passed on to the next: %+v", page.Parts[1])
	}
	set(t, control, "/fail?on=true")
	if got, page := get(t, at, nil); got != 503 || page.Error == "" {
		t.Errorf("reviews fails: got %d %+v, want 503 and why", got, page)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	nowhere, _ := url.Parse(gone.URL)
	_, at = instance(t, id, Frontend(id, http.DefaultClient, nowhere, details))
	if got, page := get(t, at, nil); got != http.StatusBadGateway || page.Error == "" {
		t.Errorf("details is not there: got %d %+v, want 502 and why", got, page)
	}
}

func TestCallsCarryTheTraceOn(t *testing.T) {
	seen := make(chan http.Header, 2)
	_, part := instance(t, Identity{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		Answer{}.write(w, http.StatusOK)
	}))
	_, at := instance(t, Identity{}, Frontend(Identity{}, http.DefaultClient, part, part))
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	get(t, at, http.Header{"Traceparent": {trace}, "X-Other": {"x"}})
	for range 2 {
		got := <-seen
		if got.Get("traceparent") != trace || got.Get("X-Other") != "" {
			t.Errorf("got %v", got)
		}
	}
}

// ratingsServer starts ratings in memory and returns its switch and a
// connection to it.
func ratingsServer(t *testing.T) (*Control, *grpc.ClientConn) {
	t.Helper()
	control := &Control{}
	server := Ratings(Identity{"ratings", "v1", "ratings-1"}, control)
	listener := bufconn.Listen(1 << 16)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
	conn, err := grpc.NewClient("passthrough:///ratings",
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return control, conn
}

func TestRatingsFailsWhileItsHealthCheckPasses(t *testing.T) {
	control, conn := ratingsServer(t)
	ctx := metadata.AppendToOutgoingContext(t.Context(), HeaderPeer, "By=spiffe://x")
	reply, err := ratingspb.NewRatingsClient(conn).Get(ctx, &ratingspb.GetRequest{})
	if err != nil || reply.GetPod() != "ratings-1" || reply.GetPeer() != "By=spiffe://x" || reply.GetStars() != 4 {
		t.Errorf("got %v, %v", reply, err)
	}
	set(t, control, "/fail?on=true")
	_, err = ratingspb.NewRatingsClient(conn).Get(ctx, &ratingspb.GetRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	health, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("the probe must not see the switch: got %v, %v", health, err)
	}
}

func TestReviewsV2ShowsTheStars(t *testing.T) {
	control, conn := ratingsServer(t)
	id := Identity{"reviews", "v2", "r"}
	_, at := instance(t, id, Reviews(id, ratingspb.NewRatingsClient(conn)))
	if got, answer := get(t, at, nil); got != 200 || answer.Stars != 4 || len(answer.Parts) != 1 {
		t.Errorf("got %d %+v", got, answer)
	}
	set(t, control, "/fail?on=true")
	if got, answer := get(t, at, nil); got != 503 || answer.Error == "" {
		t.Errorf("ratings fails: got %d %+v, want 503 and why", got, answer)
	}
}

func TestServicesStopWhenTold(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	at := Listen{App: "127.0.0.1:0"}
	id := Identity{"details", "v1", "d"}
	go func() { done <- ServeHTTP(ctx, at, id, Details(id)) }()
	go func() { done <- ServeRatings(ctx, at, id) }()
	stop()
	for range 2 {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * drainTime):
			t.Fatal("a service did not stop")
		}
	}
}

func TestLastHop(t *testing.T) {
	const me = "spiffe://cluster.local/ns/default/sa/frontend"
	for header, want := range map[string]string{
		"":                                "",
		"By=spiffe://x;Hash=ab;URI=" + me: me,
		`By=spiffe://x;Hash=ab;Subject="OU=wl:frontend,OU=ns:default;URI=no";URI=` + me: me,
		"By=a;URI=spiffe://first,By=b;URI=" + me:                                        me,
		"By=a;Hash=b":                                                                   "",
	} {
		if got := LastHop(header).URI; got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
	got := LastHop(`By=a;Hash=b;URI=c,By=d;Hash=e;Subject="OU=x,y;URI=no";URI=f`)
	if want := (Hop{By: "d", Hash: "e", URI: "f"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
