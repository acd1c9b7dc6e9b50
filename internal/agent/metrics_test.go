package agent

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/test/listed"
)

var update = flag.Bool("update", false, "rewrite this component's part of docs/metrics.md")

// noCertificates is an issuer that nobody asks.
type noCertificates struct{}

func (noCertificates) Issue(context.Context) (*enroll.Certificate, error) {
	return nil, errors.New("none")
}

func TestMetricsAreListed(t *testing.T) {
	dir := t.TempDir()
	o := Options{
		Node:   node.Node{Role: node.Sidecar, Name: "a", Namespace: "shop", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Version: "1.0.0"},
		RunDir: dir, WorkloadSDS: filepath.Join(dir, "socket"),
		Envoy: EnvoyOptions{Path: "envoy"}, Pilot: PilotOptions{Addresses: []string{"127.0.0.1:1"}, Insecure: true},
		CA: CAOptions{Issuer: noCertificates{}}, DNS: DNSOptions{Listen: []string{"127.0.0.1:0"}, Upstream: []string{"127.0.0.1:1"}},
	}.withDefaults()
	a, err := newAgent(o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.pilot.Close()
	listed.Metrics(t, "agent", a.registry, *update)
}
