package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pilot"
)

// What was seen of a port says which name it should have.
func TestSeenNamesTheCure(t *testing.T) {
	for want, seen := range map[string]pilot.Seen{
		"have seen no connection yet":                 {},
		"came late 1 time: name it tcp-db":            {Late: 1},
		"came late 2 times, and passed HTTP's routes": {HTTP1: 3, Late: 2},
		"seen: 3 times HTTP/1; name it http-db":       {HTTP1: 3},
		"some of it gRPC; name it grpc-db":            {HTTP2: 1, GRPC: true},
		"name it tls-db or tcp-db":                    {Bytes: 2},
		"name it for what it carries":                 {HTTP1: 1, Bytes: 1},
	} {
		if got := seenText(pilot.PortDescription{Name: "db", Number: 9, Protocol: "auto", Seen: &seen}); !strings.Contains(got, want) || !strings.HasPrefix(got, "port 9: no protocol named; ") {
			t.Errorf("%+v: %q does not say %q", seen, got, want)
		}
	}
}

// Of the pods' ports those that had connections may have been meant, of a
// service only its own.
func TestPortsThatMayBeLate(t *testing.T) {
	clusters, err := configs([]byte(`{"configs": [
		{"cluster": {"name": "inbound|7000||", "metadata": {"filter_metadata": {"istio": {"services": [{"host": "store"}]}}}}},
		{"cluster": {"name": "inbound|7443||", "metadata": {"filter_metadata": {"istio": {"services": [{"host": "store"}]}}}}},
		{"cluster": {"name": "inbound|8080||", "metadata": {"filter_metadata": {"istio": {"services": [{"host": "other"}]}}}}},
		{"cluster": {"name": "InboundPassthroughCluster"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	counts := counters([]byte("tcp.inbound_inbound|7000||.downstream_cx_total: 2\nhttp.inbound_inbound|8080||.downstream_cx_total: 1\ntcp.inbound_inbound|7443||.downstream_cx_total: 0\n"))
	for want, d := range map[string]pilot.Description{"[7000]": {Kind: "Service", Host: "store"}, "[7000 8080]": {Kind: "Pod"}, "[]": {Kind: "Service", Host: "third"}} {
		if got := fmt.Sprint(calledPorts(clusters, counts, &d)); got != want {
			t.Errorf("%s %s: %s, want %s", d.Kind, d.Host, got, want)
		}
	}
	if got := lateText(&pilot.Late{Times: 1, Ports: []uint32{7000, 8080}}); !strings.HasPrefix(got, "pod port 7000 or 8080: the pods' own proxies waited 1 time in vain") {
		t.Error(got)
	}
}
