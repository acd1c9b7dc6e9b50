package agent_test

import (
	"fmt"
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
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// leads has Envoy pass what comes to a port on to a name and port, byte for byte:
// as who may write a ServiceEntry for a shared gateway can.
func (m *mesh) leads(t *testing.T, host string, to uint16) (from uint16) {
	t.Helper()
	from = freePort(t)
	name := fmt.Sprintf("%s_%d", host, to)
	endpoint := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: tcp(host, to)}}}
	m.pilot.put(name, &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}, DnsLookupFamily: clusterv3.Cluster_V4_PREFERRED,
		ConnectTimeout: durationpb.New(5 * time.Second),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{endpoint}}}},
	})
	m.pilot.put("to "+name, &listenerv3.Listener{
		Name: "to " + name, Address: tcp("127.0.0.1", from),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{Name: "envoy.filters.network.tcp_proxy", ConfigType: &listenerv3.Filter_TypedConfig{
			TypedConfig: pack(t, &proxyv3.TcpProxy{StatPrefix: "loop", ClusterSpecifier: &proxyv3.TcpProxy_Cluster{Cluster: name}})}}}}},
	})
	return from
}

func tcp(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)}}}}
}

// TestEnvoyReachesNoneOfItsOwnPages: what a proxy is made to dial by a name that
// is its own loopback is refused at its administration and at the agent's pages for
// the pod; people and tools of the pod are answered there as before.
func TestEnvoyReachesNoneOfItsOwnPages(t *testing.T) {
	m := newMesh(t)
	ports := m.pod.config.Options.Ports
	admin, status, plain := m.leads(t, "localhost", ports.Admin), m.leads(t, "localhost", ports.Status), m.leads(t, "localhost", m.plain.port)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	at := func(port uint16, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", port, path) }
	eventually(t, "a name that is loopback is reached", func() bool { _, body, _ := getBy(patient, at(plain, "/")); return body == "one" })
	for range 3 {
		if code, body, _ := getBy(patient, at(ports.Admin, "/server_info")); code != http.StatusOK || !strings.Contains(body, "LIVE") {
			t.Errorf("from the pod: %d %s", code, body)
		}
		if code, body, err := getBy(patient, at(admin, "/server_info")); err == nil {
			t.Errorf("by Envoy its administration answers %d: %.80s", code, body)
		}
	}
	if code, _, _ := getBy(patient, at(status, "/tap?sample=1")); code != http.StatusForbidden {
		t.Errorf("by Envoy /tap answers %d", code)
	}
	answer, err := patient.Post(at(status, "/quitquitquit"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("by Envoy an order is answered %d", answer.StatusCode)
	}
	if code, _, err := getBy(patient, at(status, "/healthz/ready")); code != http.StatusOK {
		t.Errorf("health is for all: %d, %v", code, err)
	}
	if info, err := os.Stat(filepath.Join(m.pod.config.Options.RunDir, "admin.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("Envoy's own socket: %v, %v", info, err)
	}
	answer, err = patient.Post(m.pod.statusURL("/quitquitquit"), "", nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("from the pod an order is answered %v, %v", answer, err)
	}
	_ = answer.Body.Close()
	<-m.pod.ended
}
