package translate

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusters "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
)

// static renders clusters and listeners, just as they are, as a bootstrap.
func static(t *testing.T, mesh *model.Mesh, class model.ProxyClass) *bootstrap.Bootstrap {
	t.Helper()
	snap := Snapshot(view.Of(mesh, class))
	out := &bootstrap.Bootstrap{
		Node:            &core.Node{Id: "test", Cluster: "test"},
		StaticResources: &bootstrap.Bootstrap_StaticResources{},
		DynamicResources: &bootstrap.Bootstrap_DynamicResources{AdsConfig: &core.ApiConfigSource{
			ApiType: core.ApiConfigSource_DELTA_GRPC, TransportApiVersion: core.ApiVersion_V3,
			GrpcServices: []*core.GrpcService{{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: "xds-grpc"}}}},
		}},
	}
	for _, name := range []string{"xds-grpc", "sds-grpc"} {
		b := &builder{shared: shared{Settings: mesh.Settings}}
		c := &clusters.Cluster{Name: name, ClusterDiscoveryType: discovery(clusters.Cluster_STATIC), TypedExtensionProtocolOptions: b.protocolOptions(http2, &model.Traffic{})}
		out.StaticResources.Clusters = append(out.StaticResources.Clusters, c)
	}
	for _, r := range snap.Of(snapshot.Cluster).All() {
		c := &clusters.Cluster{}
		if err := proto.Unmarshal(r.Body, c); err != nil {
			t.Fatal(err)
		}
		out.StaticResources.Clusters = append(out.StaticResources.Clusters, c)
	}
	for _, r := range snap.Of(snapshot.Listener).All() {
		l := &listeners.Listener{}
		if err := proto.Unmarshal(r.Body, l); err != nil {
			t.Fatal(err)
		}
		out.StaticResources.Listeners = append(out.StaticResources.Listeners, l)
	}
	return out
}

// TestEnvoyValidates: clusters and listeners as they are, with their own
// addresses, are a configuration that Envoy takes.
func TestEnvoyValidates(t *testing.T) {
	binary, err := envoybin.Ensure(t.Context(), func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range everyClass {
		t.Run(string(class.Role), func(t *testing.T) {
			t.Parallel()
			config, err := protojson.Marshal(static(t, everything().Model(), class))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "bootstrap.json")
			if err := os.WriteFile(file, config, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), binary, "--mode", "validate", "-c", file, "-l", "warning").CombinedOutput(); err != nil {
				t.Errorf("%v\n%.4000s", err, out)
			}
		})
	}
}
