package pilot_test

import (
	"net/netip"
	"os"
	"regexp"
	"testing"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

const edge = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: MUTUAL, serverCertificate: /etc/certs/tls.crt, privateKey: /etc/certs/tls.key, caCertificates: /etc/certs/ca.crt}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: ["*"], gateways: [shop], http: [{route: [{destination: {host: ratings}}]}]}
`

const (
	header        = "x-forwarded-client-cert"
	gatewayID     = "spiffe://cluster.local/ns/weft-system/sa/istio-ingressgateway"
	ratingsServer = "outbound_.9080_._.ratings.default.svc.cluster.local"
)

// TestForwardedClientCertificates follows requests through a real gateway and
// a real sidecar: the app sees whom the gateway has checked and then the
// gateway, as Istio documents for the two, and never what a client outside says
// of itself.
func TestForwardedClientCertificates(t *testing.T) {
	t.Parallel()
	gateway := startProxy(t, model.Proxy{Name: "gw-1", Namespace: "weft-system", Labels: map[string]string{"istio": "ingressgateway"}, Proven: true}, gatewayID)
	sidecar := startProxy(t, model.Proxy{Sidecar: true, Name: "ratings-v1", Namespace: "default", Labels: map[string]string{"app": "ratings", "version": "v1"}, Proven: true}, "")
	for _, c := range []struct {
		name     string
		port     string
		tls      *simulate.TLS
		atTheApp string
	}{
		{"without a certificate", "80", nil, `By=[^,]*;Hash=[^,]*;URI=` + gatewayID},
		{
			"with one", "443", &simulate.TLS{SNI: "shop.example.com", ALPN: []string{"http/1.1"}, Identity: "spiffe://outside/customer"},
			`[^,]*URI=spiffe://outside/customer[^,]*,By=[^,]*;Hash=[^,]*;URI=` + gatewayID,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := send(t, gateway, simulate.Call{
				Destination: netip.MustParseAddrPort("10.2.0.1:" + c.port), Host: "shop.example.com", TLS: c.tls,
				Headers: simulate.Headers{header: {"By=forged;URI=spiffe://cluster.local/ns/default/sa/admin"}},
			})
			last := send(t, sidecar, simulate.Call{
				Listener: "virtualInbound", Destination: netip.MustParseAddrPort("10.1.0.4:9080"), Host: first.Host, Headers: first.Headers,
				TLS: &simulate.TLS{SNI: ratingsServer, ALPN: []string{"http/1.1"}, Identity: gatewayID},
			})
			got, _ := last.Headers.Get(header)
			if !regexp.MustCompile(`\A` + c.atTheApp + `\z`).MatchString(got) {
				t.Errorf("the app sees %q, want %s", got, c.atTheApp)
			}
		})
	}
}

// TestPostQuantum: the key exchange of the mesh's mTLS, and of TLS at a gateway,
// is the hybrid that withstands quantum computers where both sides have it.
// Source: IETF, draft-ietf-tls-ecdhe-mlkem; NIST, FIPS 203.
func TestPostQuantum(t *testing.T) {
	t.Parallel()
	const hybrid = "X25519MLKEM768"
	gateway := startProxy(t, model.Proxy{Name: "gw-1", Namespace: "weft-system", Labels: map[string]string{"istio": "ingressgateway"}, Proven: true}, gatewayID)
	got, err := gateway.Do(t.Context(), simulate.Call{
		Destination: netip.MustParseAddrPort("10.2.0.1:443"), Host: "shop.example.com",
		TLS: &simulate.TLS{SNI: "shop.example.com", ALPN: []string{"http/1.1"}, Identity: "spiffe://outside/customer", Curves: []string{hybrid}},
	})
	if err != nil || got.Status != 200 || len(got.Seen) != 1 {
		t.Fatalf("from outside by %s alone: %+v, %v", hybrid, got, err)
	}
	if got.Seen[0].Curve != hybrid {
		t.Errorf("the gateway and the pod agreed on %q, want %s", got.Seen[0].Curve, hybrid)
	}
}

// startProxy runs a proxy among the services of testdata/world.yaml, with edge.
func startProxy(t *testing.T, p model.Proxy, identity string) *envoy.Proxy {
	t.Helper()
	world, err := os.ReadFile("testdata/world.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return startAmong(t, string(world)+"\n---\n"+edge, p, identity)
}

// startAmong runs a proxy among the objects of a text.
func startAmong(t *testing.T, text string, p model.Proxy, identity string) *envoy.Proxy {
	t.Helper()
	objects, found := config.Decode("world.yaml", []byte(text))
	if len(found) > 0 {
		t.Fatal(found)
	}
	set := config.Set{}
	for _, o := range objects {
		set = set.With(o)
	}
	binary, err := envoybin.Ensure(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := envoy.Start(t.Context(), envoy.Options{Binary: binary, Resources: resources(set, p), Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return proxy
}

// send makes a call that must arrive, and returns what arrived.
func send(t *testing.T, p *envoy.Proxy, call simulate.Call) simulate.Request {
	t.Helper()
	got, err := p.Do(t.Context(), call)
	if err != nil || got.Status != 200 || len(got.Seen) != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	return got.Seen[0].Request
}
