package xds

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// promptly is how soon a culprit must be named and what it broke be as before.
const promptly = time.Second

// TestEnvoyRefusesCluster: a real Envoy refuses a cluster that is well formed.
// Calls go on by the old route, the culprit is named, and a good version ends it.
func TestEnvoyRefusesCluster(t *testing.T) {
	w := newWorld(t, Options{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := w.srv.GRPC()
	go g.Serve(lis)
	t.Cleanup(g.Stop)
	runEnvoy(t, lis.Addr().(*net.TCPAddr).Port)

	port := freePort(t)
	old := put(t, snapshot.Snapshot{}, tableListener("l80", "80", port), tableOfHosts("80"),
		clusterAt("one", app(t, "one")), leading("80", "a", "one"))
	w.publish("", old)
	second := app(t, "two") // before the calls, so that it outlives them
	says(t, port, "a", "200 one")
	goesOn(t, port, "200 one")

	// A new cluster is refused, among good ones; its route waits, and so does the
	// removal of the old cluster.
	const noAddress = "not-an-address:80" // a STATIC cluster needs IP addresses
	moved := put(t, old, clusterAt("two", noAddress), clusterAt("p", "127.0.0.1:1"), clusterAt("q", "127.0.0.1:1"), leading("80", "a", "two"))
	moved = moved.With(snapshot.Cluster, moved.Of(snapshot.Cluster).Without("one"))
	refusedWithin(t, w, moved, "two")
	held(t, port, "200 one")

	// The old version is back, and then a good one.
	moved = put(t, moved, clusterAt("two", second))
	w.publish("", moved)
	says(t, port, "a", "200 two")
	eventually(t, "nothing is refused", func() bool { return len(refusedNow(w)) == 0 && settled(w.srv) })

	// What is live is updated to what Envoy refuses: it stays as it was.
	refusedWithin(t, w, put(t, moved, clusterAt("two", noAddress), clusterAt("r", "127.0.0.1:1")), "two")
	held(t, port, "200 two")
	w.publish("", moved)
	eventually(t, "nothing is refused", func() bool { return len(refusedNow(w)) == 0 && settled(w.srv) })
	held(t, port, "200 two")
}

// goesOn calls through the listener until the test's end: no call may fail.
func goesOn(t *testing.T, port int, first string) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				if got := call(port, "a"); got != first && got != "200 two" {
					t.Errorf("a call during the changes: %s", got)
				}
			}
		}
	}()
	t.Cleanup(func() { close(end); <-done })
}

// refusedWithin publishes and waits until the culprits are named, and nobody else.
func refusedWithin(t *testing.T, w *world, snap snapshot.Snapshot, culprit string) {
	t.Helper()
	start := time.Now()
	w.publish("", snap)
	eventually(t, culprit+" is named", func() bool { return slices.Equal(refusedNow(w), []string{culprit}) },
		func() string { return fmt.Sprint(refusedNow(w), w.srv.Nacks()) })
	if took := time.Since(start); took > promptly {
		t.Errorf("%s was named after %v", culprit, took)
	}
}

// refusedNow are the clusters that the one proxy refuses.
func refusedNow(w *world) (out []string) {
	for _, st := range w.srv.Streams() {
		for _, ty := range st.Types {
			for _, r := range ty.Refused {
				out = append(out, r.Name)
			}
		}
	}
	return out
}

// held checks that a number of calls are answered in this way, one after another.
func held(t *testing.T, port int, want string) {
	t.Helper()
	for range 20 {
		if got := call(port, "a"); got != want {
			t.Fatalf("answered %s, want %s", got, want)
		}
	}
}

// app is an HTTP server; its address is returned.
func app(t *testing.T, says string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, says) }))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// clusterAt is a STATIC cluster of one endpoint.
func clusterAt(name, address string) *cluster.Cluster {
	host, text, _ := net.SplitHostPort(address)
	port, _ := strconv.ParseUint(text, 10, 16)
	at := &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: host, PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
	return &cluster.Cluster{
		Name: name, ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		LoadAssignment: &endpoint.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpoint.LocalityLbEndpoints{{
			LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: at}}}},
		}}},
	}
}

// leading is a virtual host whose one route leads to a cluster.
func leading(table, name, to string) *route.VirtualHost {
	return &route.VirtualHost{Name: table + "/" + name, Domains: []string{name}, Routes: []*route.Route{{
		Match:  &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		Action: &route.Route_Route{Route: &route.RouteAction{ClusterSpecifier: &route.RouteAction_Cluster{Cluster: to}}},
	}}}
}
