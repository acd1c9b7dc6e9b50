package bootstrap

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	metricsservice "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	"google.golang.org/grpc"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/agent/node"
)

// metricsServer takes no more than the first message of a stream.
type metricsServer struct {
	metricsservice.UnimplementedMetricsServiceServer
	mu       sync.Mutex
	streams  []string // whose, by the node's name
	families map[string]bool
}

func (m *metricsServer) StreamMetrics(s grpc.ClientStreamingServer[metricsservice.StreamMetricsMessage, metricsservice.StreamMetricsResponse]) error {
	in, err := s.Recv()
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.streams = append(m.streams, in.GetIdentifier().GetNode().GetCluster())
	for _, f := range in.GetEnvoyMetrics() {
		m.families[f.GetName()] = true
	}
	m.mu.Unlock()
	<-s.Context().Done()
	return s.Context().Err()
}

// TestStatistics: a running Envoy tells its statistics by UDP to a statsd, and by
// gRPC to a metrics service, by a name that DNS knows; a stream to one that takes
// nothing ends, and there is another.
//
// Source: istio.io/api mesh/v1alpha1, ProxyConfig.envoyMetricsService and
// statsdUdpAddress.
func TestStatistics(t *testing.T) {
	t.Parallel()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := &metricsServer{families: map[string]bool{}}
	server := grpc.NewServer()
	metricsservice.RegisterMetricsServiceServer(server, served)
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(server.Stop)
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close() })
	c := exampleConfig(t.TempDir())
	c.SocketMark, c.Node.IPs = 0, []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	c.Metrics = &Remote{Host: "localhost", Port: uint16(lis.Addr().(*net.TCPAddr).Port), Keepalive: &Keepalive{Probes: 3, Time: time.Minute}, MaxStream: time.Second}
	c.Statsd = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	start(t, c)
	if err := udp.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64<<10)
	for got := ""; !strings.Contains(got, "server.live"); {
		n, err := udp.Read(buffer)
		if err != nil {
			t.Fatalf("statsd got no server.live: %v", err)
		}
		got = string(buffer[:n])
	}
	deadline, tick := time.After(2*time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		served.mu.Lock()
		streams, live := len(served.streams), served.families["server.live"]
		whose := strings.Join(served.streams, " ")
		served.mu.Unlock()
		if streams >= 2 && live && strings.HasPrefix(whose, "reviews.shop ") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the metrics service got %d streams, of %q, with server.live: %v", streams, whose, live)
		}
	}
}

// TestInboundLimit: a sidecar's runtime bounds the listener of its app; that of a
// gateway, whose listeners are called otherwise, does not.
//
// Source: istio.io/api mesh/v1alpha1, ConnectionSettings.listenerConnectionLimit.
func TestInboundLimit(t *testing.T) {
	const key = "envoy.resource_limits.listener.virtualInbound.connection_limit"
	c := exampleConfig("/run/weft")
	c.InboundLimit = 7
	limit := func() float64 {
		return Build(c).GetLayeredRuntime().GetLayers()[0].GetStaticLayer().GetFields()[key].GetNumberValue()
	}
	if got := limit(); got != 7 {
		t.Errorf("a sidecar's is %v", got)
	}
	c.Runtime = map[string]string{key: "9"}
	if got := limit(); got != 9 {
		t.Errorf("a user's own value is %v", got)
	}
	c.Node.Role, c.Runtime = node.Router, nil
	if got := limit(); got != 0 {
		t.Errorf("a gateway's is %v", got)
	}
}

// TestRemoteTLS: a service that shall be proven always is, by the mesh's roots, those
// of a file or the system's.
func TestRemoteTLS(t *testing.T) {
	for name, c := range map[string]struct {
		tls  RemoteTLS
		want func(*tlsv3.CommonTlsContext) bool
	}{
		"mesh": {RemoteTLS{Mesh: true, Names: []string{"spiffe://a"}}, func(c *tlsv3.CommonTlsContext) bool {
			v := c.GetCombinedValidationContext()
			return v.GetValidationContextSdsSecretConfig().GetName() == "ROOTCA" && len(v.GetDefaultValidationContext().GetMatchTypedSubjectAltNames()) == 3 &&
				c.GetTlsCertificateSdsSecretConfigs()[0].GetName() == "default"
		}},
		"system": {RemoteTLS{}, func(c *tlsv3.CommonTlsContext) bool {
			v := c.GetValidationContext() // whose roots sign for anybody
			return v.GetTrustedCa().GetFilename() == systemCAs && v.GetMatchTypedSubjectAltNames()[0].GetMatcher().GetExact() == "logs.example"
		}},
		"system, by SNI": {RemoteTLS{SNI: "other.example"}, func(c *tlsv3.CommonTlsContext) bool {
			return c.GetValidationContext().GetMatchTypedSubjectAltNames()[0].GetMatcher().GetExact() == "other.example"
		}},
		"files": {RemoteTLS{CA: "/ca", Certificate: "/c", Key: "/k"}, func(c *tlsv3.CommonTlsContext) bool {
			return c.GetValidationContext().GetTrustedCa().GetFilename() == "/ca" && c.GetTlsCertificates()[0].GetPrivateKey().GetFilename() == "/k"
		}},
		"insecure": {RemoteTLS{Insecure: true}, func(c *tlsv3.CommonTlsContext) bool { return c.GetValidationContextType() == nil }},
	} {
		if context := c.tls.proto("logs.example").GetCommonTlsContext(); !c.want(context) {
			t.Errorf("%s: %v", name, context)
		}
	}
}

// A name is looked up while the proxy starts, not before: the DNS server may be silent.
func TestNoNameKeepsAProxyFromItsStart(t *testing.T) {
	c := remoteCluster(LogCluster, &Remote{Host: "logs.example", Port: 1}, node.Node{})
	if wait := c.GetWaitForWarmOnInit(); wait == nil || wait.GetValue() {
		t.Errorf("Envoy waits for the address of %v", c)
	}
}
