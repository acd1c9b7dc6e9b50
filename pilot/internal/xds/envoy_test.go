package xds

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// TestEnvoyTakesVirtualHosts runs a real Envoy whose route tables take their
// hosts by VHDS: a table that is there at the start, one that is added later
// (for which Envoy sends no request), an empty one, and a refused host.
func TestEnvoyTakesVirtualHosts(t *testing.T) {
	w := newWorld(t, Options{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := w.srv.GRPC()
	go g.Serve(lis)
	t.Cleanup(g.Stop)
	runEnvoy(t, lis.Addr().(*net.TCPAddr).Port)

	first, second, empty := freePort(t), freePort(t), freePort(t)
	snap := put(t, snapshot.Snapshot{}, tableListener("l80", "80", first), tableOfHosts("80"), hostOf("80", "a", "one"))
	w.publish("", snap)
	says(t, first, "a", "200 one")
	says(t, first, "nobody", "404 no such host")

	snap = put(t, snap, tableListener("l90", "90", second), tableOfHosts("90"), hostOf("90", "b", "two"))
	w.publish("", snap)
	says(t, second, "b", "200 two")

	// An empty table must not keep its listener waiting (15 s in Envoy).
	start := time.Now()
	snap = put(t, snap, tableListener("l99", "99", empty), tableOfHosts("99"))
	w.publish("", snap)
	says(t, empty, "b", "404 no such host")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the empty table was live after %v", took)
	}

	snap = put(t, snap, hostOf("90", "b", "three"), hostOf("90", "c", "four"))
	w.publish("", snap)
	says(t, second, "b", "200 three")
	says(t, second, "c", "200 four")
	snap = snap.With(snapshot.VirtualHost, snap.Of(snapshot.VirtualHost).Without("90/b"))
	w.publish("", snap)
	says(t, second, "b", "404 no such host")

	// Envoy refuses a host that claims another's domain; the table stays.
	bad := hostOf("90", "bad", "x")
	bad.Domains = append(bad.Domains, "c")
	good := hostOf("90", "good", "five")
	w.publish("", put(t, snap, bad, good))
	says(t, second, "good", "200 five")
	says(t, second, "c", "200 four")
	eventually(t, "the culprit's name", func() bool {
		for _, n := range w.srv.Nacks() {
			if len(n.Resources) == 1 && n.Resources[0] == "90/bad" {
				return true
			}
		}
		return false
	}, func() string { return fmt.Sprint(w.srv.Nacks()) })
}

// put adds resources under their own names.
func put(t *testing.T, snap snapshot.Snapshot, messages ...proto.Message) snapshot.Snapshot {
	for _, m := range messages {
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		typeURL := "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
		name := m.(interface{ GetName() string }).GetName()
		snap = snap.With(typeURL, snap.Of(typeURL).With(name, snapshot.New(typeURL, name, body)))
	}
	return snap
}

func ads() *core.ConfigSource {
	return &core.ConfigSource{ResourceApiVersion: core.ApiVersion_V3, ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}
}

func packed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func tableListener(name, table string, port int) *listener.Listener {
	manager := &hcm.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{RouteConfigName: table, ConfigSource: ads()}},
		HttpFilters:    []*hcm.HttpFilter{{Name: "router", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: packed(&router.Router{})}}},
	}
	return &listener.Listener{
		Name: name,
		Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(port)},
		}}},
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{Name: "http", ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed(manager)}}}}},
	}
}

func tableOfHosts(name string) *route.RouteConfiguration {
	return &route.RouteConfiguration{
		Name:         name,
		Vhds:         &route.Vhds{ConfigSource: ads()},
		VirtualHosts: []*route.VirtualHost{answering("fallback", "*", 404, "no such host")},
	}
}

// hostOf is a virtual host. Its own name must be the resource's: Envoy removes
// hosts by it.
func hostOf(table, name, body string) *route.VirtualHost {
	return answering(table+"/"+name, name, 200, body)
}

func answering(name, domain string, status uint32, body string) *route.VirtualHost {
	return &route.VirtualHost{Name: name, Domains: []string{domain}, Routes: []*route.Route{{
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		Action: &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{
			Status: status, Body: &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: body}},
		}},
	}}}
}

// says waits until Envoy answers a call to a host in this way.
func says(t *testing.T, port int, host, want string) {
	t.Helper()
	var got string
	eventually(t, host+": "+want, func() bool { got = call(port, host); return got == want }, func() string { return got })
}

var caller = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func call(port int, host string) string {
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		return err.Error()
	}
	req.Host = host
	resp, err := caller.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func freePort(t *testing.T) int {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().(*net.TCPAddr).Port
}

const bootstrap = `
node: {id: sidecar~10.0.0.1~a.default~default.svc.cluster.local, cluster: a, metadata: {NAMESPACE: default}}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  cds_config: {ads: {}, resource_api_version: V3}
  lds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
`

// runEnvoy runs an Envoy that asks the pilot at a port, until the test ends.
func runEnvoy(t *testing.T, port int) {
	t.Helper()
	binary, err := envoybin.Ensure(context.Background(), func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, out := filepath.Join(dir, "envoy.yaml"), filepath.Join(dir, "envoy.log")
	if err := os.WriteFile(path, fmt.Appendf(nil, bootstrap, port), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning", "--log-path", out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, _ := os.ReadFile(out); t.Failed() {
			t.Logf("Envoy said:\n%s", text)
		}
	})
}
