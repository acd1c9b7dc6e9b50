package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// assigned is an EDS resource with these IPs at port 80.
func assigned(t *testing.T, cluster string, ips ...string) *snapshot.Resource {
	t.Helper()
	group := &endpoint.LocalityLbEndpoints{}
	for _, ip := range ips {
		at := &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: ip, PortSpecifier: &core.SocketAddress_PortValue{PortValue: 80}}}}
		group.LbEndpoints = append(group.LbEndpoints, &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: at}}})
	}
	body, err := proto.Marshal(&endpoint.ClusterLoadAssignment{ClusterName: cluster, Endpoints: []*endpoint.LocalityLbEndpoints{group}})
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.New(snapshot.Endpoint, cluster, body)
}

// A proxy may speak of the endpoints that it was sent, and of nothing else; who
// proved nothing hears of no pod, and writes no Event.
func TestEjectionsAreOfWhatWasSent(t *testing.T) {
	const cluster = "outbound|80||a.n.svc"
	pod := func(name string, ips ...string) *model.Workload {
		return &model.Workload{Namespace: "n", Name: name, Addresses: ips}
	}
	joined := pod("machine", "10.0.0.4")
	joined.Joined = true
	dir := fakeDirectory{pods: map[string]*model.Workload{
		"n/a": pod("a", "10.0.0.1", "fd00::1"), "n/b": pod("b", "10.0.0.2"), "n/x": pod("x", "10.0.0.3"), "n/y": pod("y", "10.0.0.3"), "n/machine": joined,
	}}
	var got []Ejection
	srv := NewServer(Options{Ejected: func(e Ejection) { got = append(got, e) }})
	srv.SetDirectory(dir)
	c := &class{}
	table := snapshot.Snapshot{}.Of(snapshot.Endpoint).With(cluster, assigned(t, cluster, "10.0.0.1", "10.0.0.3", "10.0.0.4", "fd00::1")).With("strange", assigned(t, "strange", "10.0.0.1"))
	c.now.Store(&edition{snap: snapshot.Snapshot{}.With(snapshot.Endpoint, table)})
	say := func(s *stream, names ...string) (answered []string) {
		s.ejected(&discovery.DeltaDiscoveryRequest{TypeUrl: ejectionType, ResourceNamesSubscribe: names})
		for _, a := range s.answers {
			for _, r := range a.resources {
				answered = append(answered, r.Name+"="+string(r.Body))
			}
		}
		s.answers = nil
		return answered
	}
	open := func(proven bool) *stream {
		s := newStream(srv, 1, model.Proxy{Namespace: "n", Name: "front", Proven: proven})
		s.classes = []*class{{}, c}
		return s
	}
	s := open(true)
	wrong := []string{"", "consecutive_5xx", "consecutive_5xx 10.0.0.1:80", "consecutive_5xx 10.0.0.1:80 strange", "consecutive_5xx 10.0.0.1:80 outbound|80||b.n.svc",
		"consecutive_5xx 10.0.0.2:80 " + cluster, "consecutive_5xx 10.0.0.1:81 " + cluster, "consecutive_5xx 10.0.0.3:80 " + cluster, "consecutive_5xx 10.0.0.4:80 " + cluster, strings.Repeat("x", 1<<16)}
	if answered := say(s, wrong...); len(answered)+len(got) > 0 {
		t.Errorf("answered %v, passed on %v", answered, got)
	}
	answered := say(s, "consecutive_5xx 10.0.0.1:80 "+cluster, "what I like 10.0.0.1:80 "+cluster, "unknown 10.0.0.1:80 "+cluster, "success_rate [fd00::1]:80 "+cluster, "taken_back [fd00::1]:80 "+cluster)
	if want := "[10.0.0.1:80=n/a 10.0.0.1:80=n/a [fd00::1]:80=n/a [fd00::1]:80=n/a]"; fmt.Sprint(answered) != want {
		t.Errorf("answered %v, want %s", answered, want)
	}
	want := []Ejection{{"n", "a", "n/front", "a.n.svc", "80", "consecutive_5xx"}, {"n", "a", "n/front", "a.n.svc", "80", "success_rate"}, {"n", "a", "n/front", "a.n.svc", "80", TakenBack}}
	if !slices.Equal(got, want) {
		t.Errorf("passed on %v", got)
	}
	if many := say(s, slices.Repeat([]string{"unknown 10.0.0.1:80 " + cluster}, 3*maxEjections)...); len(many) != maxEjections {
		t.Errorf("%d answered at once", len(many))
	}
	for range maxReports {
		say(s, "x")
	}
	if s.ejected(&discovery.DeltaDiscoveryRequest{}); len(s.answers) > 0 {
		t.Error("reports have no end")
	}
	got = nil
	if answered := say(open(false), "consecutive_5xx 10.0.0.1:80 "+cluster); len(answered)+len(got) > 0 {
		t.Errorf("who proved nothing: answered %v, passed on %v", answered, got)
	}
}

// counted is a directory that counts how often all pods are looked at.
type counted struct {
	fakeDirectory
	asked *int
}

// At implements Directory.
func (c counted) At(ips []string) map[string][]*model.Workload {
	*c.asked++
	return c.fakeDirectory.At(ips)
}

// What one request costs does not go by how many hosts of a cluster it names.
func TestEjectionsAreLookedUpOnce(t *testing.T) {
	const cluster = "outbound|80||a.n.svc"
	var ips, names []string
	pods := map[string]*model.Workload{}
	for i := range 1000 {
		ip := fmt.Sprintf("10.0.%d.%d", i/250, i%250)
		ips, pods["n/"+ip] = append(ips, ip), &model.Workload{Namespace: "n", Name: ip, Addresses: []string{ip}}
	}
	for _, ip := range ips[:maxEjections] {
		names = append(names, "consecutive_5xx "+ip+":80 "+cluster)
	}
	asked := 0
	srv := NewServer(Options{})
	srv.SetDirectory(counted{fakeDirectory{pods: pods}, &asked})
	c := &class{}
	c.now.Store(&edition{snap: snapshot.Snapshot{}.With(snapshot.Endpoint, snapshot.Snapshot{}.Of(snapshot.Endpoint).With(cluster, assigned(t, cluster, ips...)))})
	cost := func(names []string) float64 {
		return testing.AllocsPerRun(1, func() {
			s := newStream(srv, 1, model.Proxy{Namespace: "n", Name: "front", Proven: true})
			s.classes = []*class{c}
			s.ejected(&discovery.DeltaDiscoveryRequest{TypeUrl: ejectionType, ResourceNamesSubscribe: names})
			if len(s.answers) != 1 || len(s.answers[0].resources) != len(names) {
				t.Errorf("answered %v", s.answers)
			}
		})
	}
	one, asked1 := cost(names[:1]), asked
	asked = 0
	if all := cost(names); all > 2*one || asked != asked1 {
		t.Errorf("%d hosts cost %v allocations and %d looks at the pods, one %v and %d", len(names), all, asked, one, asked1)
	}
}
