package pilot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	grpcxds "google.golang.org/grpc/xds"

	"github.com/weftmesh/weft/internal/agent/grpcbootstrap"
	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// ring is a pilot, gRPC servers and what they are said to be, for unmodified
// grpc-go clients.
type ring struct {
	t    *testing.T
	src  *memory.Source
	addr pilot.Addresses
	stop context.CancelFunc
	done chan error
}

const ratingsService = `
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: shop}
spec: {clusterIP: 10.96.0.10, selector: {app: ratings}, ports: [{name: grpc, port: 9000, targetPort: grpc}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: shop}
spec:
  host: ratings
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`

func startRing(t *testing.T) *ring {
	r := &ring{t: t, src: memory.New()}
	r.apply("ratings", ratingsService)
	r.start("127.0.0.1:0")
	t.Cleanup(func() { r.end() })
	return r
}

func (r *ring) start(address string) {
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.done = stop, make(chan error, 1)
	started := make(chan pilot.Addresses, 1)
	go func() {
		r.done <- pilot.Run(ctx, pilot.Options{Source: r.src, InsecureXDS: address, Monitoring: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Started: func(a pilot.Addresses) { started <- a }})
	}()
	select {
	case r.addr = <-started:
	case err := <-r.done:
		r.t.Fatal(err)
	}
}

func (r *ring) end() {
	r.stop()
	err := <-r.done
	if err != nil {
		r.t.Error(err)
	}
	r.done <- nil
}

func (r *ring) apply(file, text string) {
	r.t.Helper()
	if found := r.src.ApplyYAML(file+".yaml", text); len(found) > 0 {
		r.t.Fatal(found)
	}
}

// rater is a server of one version; fail and wait change how it answers.
type rater struct {
	ratingspb.UnimplementedRatingsServer
	version string
	calls   atomic.Int64
	fail    atomic.Int64 // so many calls are to fail
	wait    atomic.Int64 // nanoseconds
}

func (s *rater) Get(ctx context.Context, _ *ratingspb.GetRequest) (*ratingspb.GetReply, error) {
	s.calls.Add(1)
	select {
	case <-time.After(time.Duration(s.wait.Load())):
	case <-ctx.Done():
	}
	if s.fail.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "told to fail")
	}
	return &ratingspb.GetReply{Stars: 4, Version: s.version}, nil
}

// serve starts a server of a version and makes it a pod and an endpoint.
func (r *ring) serve(version string) *rater {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	s, g := &rater{version: version}, grpc.NewServer()
	ratingspb.RegisterRatingsServer(g, s)
	go g.Serve(lis)
	r.t.Cleanup(g.Stop)
	r.apply("pod-"+version, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: ratings-%[1]s, namespace: shop, labels: {app: ratings, version: %[1]s}}
spec: {containers: [{name: app}]}
status: {phase: Running, podIP: 127.0.0.1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ratings-%[1]s, namespace: shop, labels: {kubernetes.io/service-name: ratings}}
addressType: IPv4
ports: [{name: grpc, port: %[2]d, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: ratings-%[1]s, namespace: shop}}]
`, version, lis.Addr().(*net.TCPAddr).Port))
	return s
}

// bootstrap is that of a process in namespace shop.
func (r *ring) bootstrap() []byte {
	text, err := grpcbootstrap.JSON(grpcbootstrap.Config{
		Node:   node.Node{Role: node.Sidecar, Name: "client", Namespace: "shop", IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
		Server: r.addr.InsecureXDS, Plaintext: true,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func (r *ring) client(target string) ratingspb.RatingsClient {
	builder, err := grpcxds.NewXDSResolverWithConfigForTesting(r.bootstrap())
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+target, grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return ratingspb.NewRatingsClient(conn)
}

// get calls once, with headers NAME, VALUE, ...; it gives the version or the error's code.
func get(c ratingspb.RatingsClient, headers ...string) string {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), headers...), patience)
	defer cancel()
	out, err := c.Get(ctx, &ratingspb.GetRequest{})
	if err != nil {
		return status.Code(err).String()
	}
	return out.GetVersion()
}

// route makes the http routes of ratings, given as YAML in flow form.
func (r *ring) route(http string) {
	r.apply("route", fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ratings, namespace: shop}\nspec: {hosts: [ratings], http: %s}\n", http))
}

const ratingsTarget = "ratings.shop.svc.cluster.local:9000"

// TestGRPCWeights: an unmodified grpc-go client splits its calls by weight, and
// follows an edit without a call that fails.
func TestGRPCWeights(t *testing.T) {
	r := startRing(t)
	r.serve("v1")
	r.serve("v2")
	r.route("[{route: [{destination: {host: ratings, subset: v1}, weight: 90}, {destination: {host: ratings, subset: v2}, weight: 10}]}]")
	c := r.client(ratingsTarget)
	// Four standard deviations of 200 are 54. The pilot may not have read the route yet.
	var counts map[string]int
	if !soon(func() bool {
		counts = map[string]int{}
		for range 2000 {
			counts[get(c)]++
		}
		return counts["v1"]+counts["v2"] == 2000 && counts["v2"] > 146 && counts["v2"] < 254
	}) {
		t.Errorf("90 to 10 became %v", counts)
	}
	r.route("[{route: [{destination: {host: ratings, subset: v2}}]}]")
	start, got := time.Now(), ""
	eventually(t, "the edit", func() bool {
		if got = get(c); got != "v1" && got != "v2" {
			t.Errorf("a call during the edit: %s", got)
		}
		return got == "v2" && get(c) == "v2" && get(c) == "v2"
	})
	t.Logf("the edit was live after %v", time.Since(start))
}

// TestGRPCMatches: what a call must have to be taken by a route. Source: Istio,
// HTTPMatchRequest; gRFC A28.
func TestGRPCMatches(t *testing.T) {
	r := startRing(t)
	r.serve("v1")
	r.serve("v2")
	c := r.client(ratingsTarget)
	short := r.client("ratings.shop:9000")
	for _, test := range []struct {
		name, match string
		want        map[string]string // headers "name value" to version
	}{
		{"exact", "{headers: {end-user: {exact: jason}}}", map[string]string{"": "v1", "end-user jason": "v2", "end-user Jason": "v1"}},
		{"regex", "{headers: {end-user: {regex: j.*}}}", map[string]string{"end-user jason": "v2", "end-user xj": "v1"}},
		{"present", "{headers: {end-user: {}}}", map[string]string{"": "v1", "end-user x": "v2"}},
		{"without", "{withoutHeaders: {end-user: {exact: jason}}}", map[string]string{"": "v2", "end-user x": "v2", "end-user jason": "v1"}},
		{"without present", "{withoutHeaders: {end-user: {}}}", map[string]string{"": "v2", "end-user x": "v1"}},
		{"path", "{uri: {prefix: /weft.samples.bookshop.Ratings/}}", map[string]string{"": "v2"}},
		{"other path", "{uri: {exact: /weft.samples.bookshop.Ratings/Put}}", map[string]string{"": "v1"}},
		{"path regex", "{uri: {regex: '.*/Ge.'}}", map[string]string{"": "v2"}},
		{"method", "{method: {exact: POST}}", map[string]string{"": "v2"}},
		{"other method", "{method: {exact: GET}}", map[string]string{"": "v1"}},
		{"query", "{queryParams: {a: {exact: b}}}", map[string]string{"": "v1"}},
		{"authority", "{authority: {prefix: ratings.shop.svc}}", map[string]string{"": "v2"}},
		{"source", "{sourceNamespace: elsewhere}", map[string]string{"": "v1"}},
	} {
		r.route("[{match: [" + test.match + "], route: [{destination: {host: ratings, subset: v2}}]}, {route: [{destination: {host: ratings, subset: v1}}]}]")
		for headers, want := range test.want {
			var got string
			if !soon(func() bool {
				got = get(c, strings.Fields(headers)...)
				return got == want && get(short, strings.Fields(headers)...) == want
			}) {
				t.Errorf("%s with %q: %s, want %s", test.name, headers, got, want)
			}
		}
	}
}

func soon(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if ok() {
			return true
		}
	}
	return false
}

// TestGRPCPolicies: time-outs, retries, faults, and routes to nothing.
func TestGRPCPolicies(t *testing.T) {
	r := startRing(t)
	s := r.serve("v1")
	c := r.client(ratingsTarget)
	to := "route: [{destination: {host: ratings}}]"
	becomes := func(want string) {
		t.Helper()
		var got string
		if !soon(func() bool { got = get(c); return got == want }) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	becomes("v1")
	s.wait.Store(int64(300 * time.Millisecond))
	r.route("[{timeout: 50ms, " + to + "}]")
	becomes("DeadlineExceeded")
	s.wait.Store(0)
	r.route("[{retries: {attempts: 3, retryOn: unavailable}, " + to + "}]")
	// An answer alone would not show that the edit is live.
	var got string
	var calls int64
	if !soon(func() bool {
		before := s.calls.Load()
		s.fail.Store(2)
		got = get(c)
		calls = s.calls.Load() - before
		return got == "v1" && calls == 3
	}) {
		t.Errorf("with two failures and three retries: %s after %d calls", got, calls)
	}
	r.route("[{retries: {attempts: 0}, " + to + "}]")
	if !soon(func() bool { s.fail.Store(1); return get(c) == "Unavailable" }) {
		t.Error("without retries a failure does not arrive")
	}
	s.fail.Store(0)
	r.route("[{fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}, " + to + "}]")
	becomes("ResourceExhausted")
	r.route("[{route: [{destination: {host: nowhere}}]}]")
	start := time.Now()
	becomes("Unavailable")
	if took := time.Since(start); took > 7*time.Second {
		t.Errorf("a route to nothing failed after %v", took)
	}
	r.route("[{directResponse: {status: 418}}]")
	becomes("Unavailable")
	r.route("[{" + to + "}]")
	becomes("v1")
}

// TestGRPCEndpoints: servers come and go, and the pilot is restarted.
func TestGRPCEndpoints(t *testing.T) {
	r := startRing(t)
	r.serve("v1")
	c := r.client(ratingsTarget)
	if got := get(c); got != "v1" {
		t.Fatal(got)
	}
	r.serve("v2")
	eventually(t, "a call at the new server", func() bool { return get(c) == "v2" })
	r.src.Delete(config.EndpointSlice, "shop/ratings-v1")
	eventually(t, "calls at the new server alone", func() bool {
		seen := map[string]bool{}
		for range 4 {
			seen[get(c)] = true
		}
		return len(seen) == 1 && seen["v2"]
	})
	address := r.addr.InsecureXDS
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got := get(c); got != "v2" {
			t.Fatalf("without a pilot: %s", got)
		}
	}
	r.start(address)
	r.serve("v3")
	eventually(t, "the new pilot's word", func() bool { return get(c) == "v3" })
}

// TestGRPCGetsWhatItAsks: a client is sent what it subscribes to, of a mesh of
// many services.
func TestGRPCGetsWhatItAsks(t *testing.T) {
	r := startRing(t)
	r.serve("v1")
	for i := range 200 {
		r.apply(fmt.Sprint("other", i), fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: other%d, namespace: shop}\nspec: {clusterIP: 10.97.0.%d, ports: [{name: grpc, port: 9000}]}\n", i, i+1))
	}
	c := r.client(ratingsTarget)
	if got := get(c); got != "v1" {
		t.Fatal(got)
	}
	var sent int
	eventually(t, "the bytes sent", func() bool { sent = pushedBytes(t, r.addr.Monitoring); return sent > 0 })
	if sent > 4000 {
		t.Errorf("a client of one service was sent %d bytes", sent)
	}
}

func pushedBytes(t *testing.T, address string) (sum int) {
	t.Helper()
	for _, n := range sentBytes(t, address) {
		sum += n
	}
	return sum
}

// sentBytes are the bytes of resources that a pilot has sent, by type ("vhds").
func sentBytes(t *testing.T, address string) map[string]int {
	t.Helper()
	sent := map[string]int{}
	for line := range strings.SplitSeq(page(t, "http://"+address+"/metrics"), "\n") {
		name, value, _ := strings.Cut(line, " ")
		_, kind, ok := strings.Cut(name, `weft_pilot_xds_push_bytes_total{type="`)
		var n float64
		if ok && json.Unmarshal([]byte(value), &n) == nil {
			sent[strings.TrimSuffix(kind, `"}`)] = int(n)
		}
	}
	return sent
}

func page(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
