package pilot

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/pilot/internal/status"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// TestPeers: the proxies of another replica count, for the form of an object
// that it has; of a replica that does not answer nothing is said.
func TestPeers(t *testing.T) {
	ca, src := newTestCA(t), memory.New()
	if found := src.ApplyYAML("x.yaml", service("shop", "a")+"---"+rule("shop", "RANDOM")); len(found) > 0 {
		t.Fatal(found)
	}
	identity := enroll.NewManager(enroll.ManagerOptions{Issuer: ca, Roots: ca.roots(), Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan Addresses, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{
			Source: src, InsecureXDS: "127.0.0.1:0", Monitoring: "127.0.0.1:0", Identity: identity, Metrics: prometheus.NewRegistry(),
			Log: slog.New(slog.DiscardHandler), Started: func(a Addresses) { started <- a },
		})
	}()
	stop := func() error { cancel(); return <-ended }
	addrs := <-started
	if _, err := identity.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	c := &inCluster{t: t, addrs: addrs}
	c.proxy("one", "shop", nil)

	as := func(id spiffe.ID) *http.Client {
		cert := ca.issue(id)
		show := func() (*tls.Certificate, error) { return cert.TLS(), nil }
		return peerClient(enroll.ClientTLS(show, ca.roots(), enroll.AllowIDs(ID("cluster.local"))))
	}
	stranger, err := as(spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "a"}).Get("https://" + addrs.Monitoring + "/debug/live")
	if err != nil || stranger.StatusCode != http.StatusForbidden {
		t.Errorf("a workload was answered %v, %v", stranger, err)
	}
	all := &tallyOfAll{own: xds.NewServer(xds.Options{}).NewTally(ofIstio), peers: &peers{
		list: func() map[string]string { return map[string]string{"pilot-2": addrs.Monitoring} }, client: as(ID("cluster.local")),
		log: slog.New(slog.DiscardHandler), moved: make(chan struct{}, 1), of: map[string]*peer{}, touched: map[string]struct{}{},
	}}
	count := func(object string, generation int64) status.Count {
		all.peers.ask(ctx)
		all.Update()
		return all.Of(object, generation)
	}
	const object = "DestinationRule/shop/a"
	c.eventually("the other replica's proxy counts", func() (string, bool) {
		got := count(object, 0)
		return "", got.Proxies == 1 && got.Live == 1 && len(got.Unheard) == 0
	})
	if got := count(object, 7); got.Proxies != 1 || got.Live != 0 {
		t.Errorf("of another generation: %+v", got)
	}
	if got := count("DestinationRule/shop/b", 1); len(got.Unheard) != 1 {
		t.Errorf("of an object that the replica does not know: %+v", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	all.peers.of["pilot-2"].heard = time.Now().Add(-2 * peerAge)
	if got := count(object, 0); len(got.Unheard) != 1 || got.Unheard[0] != "pilot-2" {
		t.Errorf("of a replica that is away: %+v", got)
	}
}
