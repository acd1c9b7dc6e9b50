package translate

import (
	"net/netip"
	"strings"
	"testing"

	xds "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
	"github.com/weftmesh/weft/test/envoy"
)

// resources are what a proxy of these classes would get.
func resources(t testing.TB, mesh *model.Mesh, classes ...model.ProxyClass) (out []*xds.Resource) {
	t.Helper()
	for _, class := range classes {
		tr := New()
		snap := tr.Snapshot(view.Of(mesh, class))
		for _, p := range tr.Problems() {
			t.Errorf("%s: %s %q: %s", class.Role, p.Type, p.Name, p.Reason)
		}
		for _, typeURL := range snap.Types() {
			if typeURL == snapshot.Name {
				continue // for the agent
			}
			for _, r := range snap.Of(typeURL).All() {
				out = append(out, &xds.Resource{Name: r.Name, Version: r.Version, Resource: &anypb.Any{TypeUrl: r.Type, Value: r.Body}})
			}
		}
	}
	return out
}

func run(t *testing.T, mesh *model.Mesh, classes ...model.ProxyClass) *envoy.Proxy {
	t.Helper()
	binary, err := envoybin.Ensure(t.Context(), func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	p, err := envoy.Start(t.Context(), envoy.Options{Binary: binary, Resources: resources(t, mesh, classes...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Envoy said:\n%s", p.Log())
		}
		p.Close()
	})
	return p
}

// expect is what must come of a call.
type expect struct {
	status  int
	cluster string // that the first endpoint asked belongs to; "" none
	tls     bool   // it was reached by mesh mTLS
	sni     string
	closed  bool   // the connection ended without an answer
	header  string // "name: value" of the request that the endpoint saw
}

type calling struct {
	name string
	call simulate.Call
	want expect
}

func (c calling) run(t *testing.T, p *envoy.Proxy) {
	t.Helper()
	got, err := p.Do(t.Context(), c.call)
	if err != nil {
		t.Fatal(err)
	}
	if c.want.closed != (got.Closed != "") {
		t.Fatalf("closed: %q; %+v", got.Closed, got)
	}
	if got.Status != c.want.status {
		t.Errorf("status %d, want %d: %+v", got.Status, c.want.status, got)
	}
	if c.want.cluster == "" {
		if len(got.Seen) > 0 {
			t.Errorf("it reached %s", got.Seen[0].Cluster)
		}
		return
	}
	if len(got.Seen) == 0 {
		t.Fatalf("it reached nothing: %+v", got)
	}
	seen := got.Seen[0]
	if seen.Cluster != c.want.cluster || seen.TLS != c.want.tls || c.want.sni != "" && seen.SNI != c.want.sni {
		t.Errorf("it reached %s (tls %v, sni %q), want %+v", seen.Cluster, seen.TLS, seen.SNI, c.want)
	}
	if name, value, ok := strings.Cut(c.want.header, ": "); ok && !strings.Contains(strings.Join(seen.Request.Headers[name], ","), value) {
		t.Errorf("header %s is %v, want %q", name, seen.Request.Headers[name], value)
	}
}

func to(addr string) netip.AddrPort { return netip.MustParseAddrPort(addr) }

const clientID = "spiffe://cluster.local/ns/default/sa/client"

func TestEnvoyOutbound(t *testing.T) {
	t.Parallel()
	reviews := "reviews.default.svc.cluster.local"
	m := meshtest.Bookshop().VirtualService(meshtest.Routing("reviews", "default", reviews, meshtest.To(reviews, "v1", 1, "v2", 0)))
	p := run(t, m.Model(), meshtest.Outbound)
	for _, c := range []calling{
		{"subset by VirtualService", simulate.Call{Listener: "virtualOutbound", Destination: to("10.96.0.1:9080"), Host: "reviews:9080"},
			expect{status: 200, cluster: "outbound|9080|v1|" + reviews, tls: true, sni: "outbound_.9080_.v1_." + reviews}},
		{"short name", simulate.Call{Listener: "virtualOutbound", Destination: to("10.96.0.1:9080"), Host: "reviews.default.svc"},
			expect{status: 200, cluster: "outbound|9080|v1|" + reviews, tls: true}},
		{"by address", simulate.Call{Listener: "virtualOutbound", Destination: to("10.96.0.1:9080"), Host: "10.96.0.1:9080"},
			expect{status: 200, cluster: "outbound|9080|v1|" + reviews, tls: true}},
		{"name that is no service", simulate.Call{Listener: "virtualOutbound", Destination: to("10.96.0.1:9080"), Host: "example.com"},
			expect{status: 200, cluster: "PassthroughCluster"}},
		{"unknown port", simulate.Call{Listener: "virtualOutbound", Destination: to("192.0.2.1:8443"), TCP: true},
			expect{cluster: "PassthroughCluster"}},
		{"gRPC to a headless service", simulate.Call{Listener: "virtualOutbound", Destination: to("10.244.0.3:9090"), Host: "ratings:9090", HTTP2: true},
			expect{status: 200, cluster: "outbound|9090||ratings.default.svc.cluster.local", tls: true}},
		{"one pod of a headless service", simulate.Call{Listener: "virtualOutbound", Destination: to("10.244.0.3:9090"), Host: "ratings-0.ratings:9090", HTTP2: true},
			expect{status: 200, cluster: "outbound|9090||*.ratings.default.svc.cluster.local", tls: true}},
		{"TCP", simulate.Call{Listener: "virtualOutbound", Destination: to("10.96.0.3:5432"), TCP: true},
			expect{cluster: "outbound|5432||db.default.svc.cluster.local", tls: true}},
		{"HTTP found out", simulate.Call{Listener: "virtualOutbound", Destination: to("10.96.0.4:7000"), Host: "any:7000"},
			expect{status: 200, cluster: "outbound|7000||any.default.svc.cluster.local", tls: true}},
		{"TCP found out", simulate.Call{Listener: "virtualOutbound", Destination: to("10.96.0.4:7000"), TCP: true},
			expect{cluster: "outbound|7000||any.default.svc.cluster.local", tls: true}},
		{"headless TCP", simulate.Call{Listener: "virtualOutbound", Destination: to("10.244.0.7:7001"), TCP: true},
			expect{cluster: "outbound|7001||peers.default.svc.cluster.local", tls: true}},
		{"another destination on that port", simulate.Call{Listener: "virtualOutbound", Destination: to("192.0.2.1:7001"), TCP: true},
			expect{cluster: "PassthroughCluster"}},
		{"itself", simulate.Call{Listener: "virtualOutbound", Destination: to("10.244.0.9:15001"), TCP: true}, expect{closed: true}},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, p) })
	}
}

func modeOf(mode model.MTLSMode) *model.Mesh {
	m := meshtest.Bookshop()
	m.Service(meshtest.Service("plain", "default", "10.96.0.9", meshtest.Port(5000, model.ProtocolTCP), meshtest.Port(6000, model.ProtocolAuto)))
	plain, _ := m.Model().Services.Get(meshtest.Host("plain", "default"))
	both := *plain
	both.Selector = map[string]string{"app": "reviews"}
	m.Service(&both)
	return m.PeerAuth(&model.PeerAuth{Namespace: "weft-system", Name: "default", Mode: &mode}).Model()
}

func mesh(alpn ...string) *simulate.TLS {
	return &simulate.TLS{SNI: "outbound_.9080_._.reviews.default.svc.cluster.local", ALPN: alpn, Identity: clientID}
}

// inboundCalls go to every kind of port in every way; plain and appTLS say
// whether the mode lets those pass.
func inboundCalls(tlsMesh, plain bool) []calling {
	own := &simulate.TLS{SNI: "reviews.example"}
	at := func(port string) simulate.Call {
		return simulate.Call{Listener: "virtualInbound", Destination: to("10.244.0.1:" + port), Host: "reviews"}
	}
	with := func(c simulate.Call, change func(*simulate.Call)) simulate.Call { change(&c); return c }
	tcp := func(c *simulate.Call) { c.TCP = true }
	ok := func(allowed bool, cluster string, status int, xfcc string) expect {
		if !allowed {
			return expect{closed: true}
		}
		return expect{status: status, cluster: cluster, header: xfcc}
	}
	peer := `x-forwarded-client-cert: Subject="";URI=` + clientID
	return []calling{
		{"mesh HTTP", with(at("9080"), func(c *simulate.Call) { c.TLS = mesh("http/1.1") }), ok(tlsMesh, "inbound|9080||", 200, peer)},
		{"mesh HTTP/2", with(at("9080"), func(c *simulate.Call) { c.TLS = mesh("h2"); c.HTTP2 = true }), ok(tlsMesh, "inbound|9080||", 200, peer)},
		{"plain HTTP", at("9080"), ok(plain, "inbound|9080||", 200, "")},
		{"mesh TCP", with(at("5000"), func(c *simulate.Call) { c.TCP = true; c.TLS = mesh() }), ok(tlsMesh, "inbound|5000||", 0, "")},
		{"plain TCP", with(at("5000"), tcp), ok(plain, "inbound|5000||", 0, "")},
		{"mesh HTTP found out", with(at("6000"), func(c *simulate.Call) { c.TLS = mesh("h2"); c.HTTP2 = true }), ok(tlsMesh, "inbound|6000||", 200, peer)},
		{"mesh TCP found out", with(at("6000"), func(c *simulate.Call) { c.TCP = true; c.TLS = mesh() }), ok(tlsMesh, "inbound|6000||", 0, "")},
		{"plain HTTP found out", at("6000"), ok(plain, "inbound|6000||", 200, "")},
		{"plain TCP found out", with(at("6000"), tcp), ok(plain, "inbound|6000||", 0, "")},
		{"mesh to no service", with(at("7777"), func(c *simulate.Call) { c.TLS = mesh("http/1.1") }), ok(tlsMesh, "InboundPassthroughCluster", 200, peer)},
		{"plain to no service", with(at("7777"), tcp), ok(plain, "InboundPassthroughCluster", 0, "")},
		{"the app's own TLS", with(at("9080"), func(c *simulate.Call) { c.TLS = own }), func() expect {
			e := ok(plain, "inbound|9080||", 200, "")
			e.tls, e.sni = plain, "reviews.example"
			return e
		}()},
		{"itself", with(at("15006"), tcp), expect{closed: true}},
	}
}

func TestEnvoyInbound(t *testing.T) {
	for name, tc := range map[string]struct {
		mode        model.MTLSMode
		mesh, plain bool
	}{
		"permissive": {model.MTLSPermissive, true, true},
		"strict":     {model.MTLSStrict, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := run(t, modeOf(tc.mode), meshtest.Inbound)
			for _, c := range inboundCalls(tc.mesh, tc.plain) {
				t.Run(c.name, func(t *testing.T) { c.run(t, p) })
			}
		})
	}
}

func TestEnvoyInboundDisabled(t *testing.T) {
	t.Parallel()
	p := run(t, modeOf(model.MTLSDisable), meshtest.Inbound)
	for _, c := range inboundCalls(true, true) {
		if !strings.HasPrefix(c.name, "mesh") {
			t.Run(c.name, func(t *testing.T) { c.run(t, p) })
		}
	}
}

func TestEnvoyRouter(t *testing.T) {
	t.Parallel()
	p := run(t, meshtest.Bookshop().Model(), meshtest.Router)
	at := simulate.Call{Destination: to("10.244.0.20:80"), Host: "shop.example"}
	other := at
	other.Host = "other.example"
	forged := at
	forged.Headers = simulate.Headers{"x-forwarded-client-cert": {"URI=spiffe://evil"}}
	for _, c := range []calling{
		{"host", at, expect{status: 200, cluster: "outbound|9080||reviews.default.svc.cluster.local", tls: true}},
		{"unknown host", other, expect{status: 404}},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, p) })
	}
	got, err := p.Do(t.Context(), forged)
	if err != nil || len(got.Seen) != 1 || len(got.Seen[0].Request.Headers["x-forwarded-client-cert"]) != 0 {
		t.Errorf("a forged client certificate header: %+v, %v", got, err)
	}
}
