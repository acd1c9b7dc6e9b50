package agent_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/enroll"
)

// outbound is a listener that forwards to a port of another Envoy by mutual TLS, a
// connection for each request.
type outbound struct{ port, to uint16 }

func (o outbound) put(t *testing.T, p *testPilot) {
	t.Helper()
	const name = "peer"
	source := inbound{api: corev3.ApiConfigSource_DELTA_GRPC}.sdsSource()
	secure := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "default", SdsConfig: source}},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ROOTCA", SdsConfig: source}},
	}}
	once := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{MaxRequestsPerConnection: wrapperspb.UInt32(1)},
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}}}},
	}
	address := func(port uint16) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)}}}}
	}
	p.put(name, &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(o.to)}}}}}}},
		TransportSocket:               &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(t, secure)}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(t, once)},
	})
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "out",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
				Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name}}},
			}}}}}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})}}},
	}
	p.put("out", &listenerv3.Listener{
		Name: "out", StatPrefix: "out", TrafficDirection: corev3.TrafficDirection_OUTBOUND, Address: address(o.port),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, manager)}}}}},
	})
}

// pair is two pods: the caller forwards to the other one, m.
type pair struct {
	m      *mesh
	caller *pod
	out    outbound
	own    inbound // of the caller, where its certificate is seen
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{m: newMesh(t)}
	pilot := newTestPilot(t, p.m.ca)
	p.out = outbound{port: freePort(t), to: p.m.tls.port}
	p.own = inbound{port: freePort(t), body: "own", tls: true, api: corev3.ApiConfigSource_DELTA_GRPC}
	p.out.put(t, pilot)
	pilot.put("own", p.own.listener(t))
	p.caller = newPod(t, p.m.ca, pilot.address)
	p.m.pilot.start()
	pilot.start()
	return p
}

func (p *pair) start() { p.m.pod.start(); p.caller.start() }

// call is what an app beside the caller gets.
func (p *pair) call() (int, string) {
	code, body, _ := get(fmt.Sprintf("http://127.0.0.1:%d/", p.out.port))
	return code, body
}

func (p *pair) served() bool {
	code, body := p.call()
	return code == http.StatusOK && body == "secured"
}

// revoke publishes a list of these serial numbers, in force until end.
func (c *testCA) revoke(t *testing.T, end time.Time, serials ...*big.Int) {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: end}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	c.writeLists(t, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// writeLists replaces the file as a CA does, in one step.
func (c *testCA) writeLists(t *testing.T, text []byte) {
	t.Helper()
	write(t, filepath.Join(c.dir, "new"), text)
	if err := os.Rename(filepath.Join(c.dir, "new"), filepath.Join(c.dir, enroll.CRLFile)); err != nil {
		t.Fatal(err)
	}
}

// ask makes a TLS connection to the first pod and reads an answer on it.
func (p *pair) ask(config *tls.Config) (resumed bool, err error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", fmt.Sprintf("127.0.0.1:%d", p.m.tls.port), config)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return false, err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		return false, err
	}
	body, err := io.ReadAll(conn)
	if err == nil && !strings.Contains(string(body), "secured") {
		err = fmt.Errorf("answer %q", body)
	}
	return conn.ConnectionState().DidResume, err
}

// holder is the TLS configuration of a client with a certificate of its own, which
// keeps its sessions.
func (p *pair) holder(t *testing.T) (*tls.Config, *big.Int) {
	t.Helper()
	cert := p.m.ca.issue(t, podID)
	config := enroll.ClientTLS(cert.certificate, p.m.ca.roots(t), nil)
	config.NextProtos, config.ServerName = nil, "a"
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	return config, cert.Leaf.SerialNumber
}

// TestRevoked: a certificate that is on a list is refused by the other Envoy, and no
// session begun with it is resumed; whoever is not on it is served. Lists that are
// garbage or at their end cut nobody off, and are spoken of.
func TestRevoked(t *testing.T) {
	p := newPair(t)
	p.start()
	eventually(t, "one Envoy calls the other", p.served)
	bad, badSerial := p.holder(t)
	good, _ := p.holder(t)
	eventually(t, "a session is resumed", func() bool { resumed, err := p.ask(bad); return err == nil && resumed })
	callers := &mesh{ca: p.m.ca, tls: p.own}
	var serial *big.Int
	eventually(t, "the caller shows its certificate", func() bool { serial = callers.serial(t); return serial != nil })

	p.m.ca.revoke(t, time.Now().Add(time.Hour), serial, badSerial)
	eventually(t, "the caller is refused", func() bool { code, _ := p.call(); return code == http.StatusServiceUnavailable })
	eventually(t, "a revoked certificate is refused, and no session of it resumed", func() bool { _, err := p.ask(bad); return err != nil })
	if _, err := p.ask(good); err != nil {
		t.Errorf("a good certificate is refused: %v", err)
	}

	p.m.ca.revoke(t, time.Now().Add(-time.Hour), serial)
	eventually(t, "a list at its end refuses nobody", p.served)
	eventually(t, "it is said", func() bool { return strings.Contains(p.m.pod.output.String(), "ended at") })
	p.m.ca.revoke(t, time.Now().Add(time.Hour), serial)
	eventually(t, "the next list counts", func() bool { code, _ := p.call(); return code == http.StatusServiceUnavailable })
	p.m.ca.writeLists(t, []byte("garbage"))
	eventually(t, "garbage is spoken of", func() bool { return strings.Contains(p.m.pod.output.String(), "want PEM blocks of type X509 CRL") })
	if p.served() {
		t.Error("the last lists are no longer in force")
	}
	if err := os.Remove(filepath.Join(p.m.ca.dir, enroll.CRLFile)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "without lists all are served", p.served)
}
