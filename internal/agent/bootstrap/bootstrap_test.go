package bootstrap

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/envoybin"
)

func exampleNode() node.Node {
	return node.Node{
		Role: node.Sidecar, Name: "reviews-v1-abc", Namespace: "shop",
		IPs:            []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
		ServiceAccount: "reviews", Workload: "reviews-v1",
		Labels: map[string]string{"app": "reviews", "version": "v1", "a": "1", "b": "2"},
	}
}

func exampleConfig(dir string) Config {
	return Config{
		Node: exampleNode(), SocketMark: 1337,
		XDSSocket: filepath.Join(dir, "xds.sock"), SDSSocket: filepath.Join(dir, "sds.sock"), TapSocket: filepath.Join(dir, "tap.sock"),
		CountSocket: filepath.Join(dir, "count.sock"), EjectionLog: filepath.Join(dir, "ejections.log"),
	}
}

func TestJSONIsStable(t *testing.T) {
	first, err := JSON(exampleConfig("/run/weft"))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := JSON(exampleConfig("/run/weft"))
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("equal input gave other bytes (err %v)", err)
		}
	}
}

func TestJSONNamesTheNode(t *testing.T) {
	raw, err := JSON(exampleConfig("/run/weft"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Node struct {
			ID, Cluster string
			Metadata    map[string]any
		}
		Admin struct {
			Address map[string]map[string]any
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.Node.ID != "sidecar~127.0.0.1~reviews-v1-abc.shop~shop.svc.cluster.local" || got.Node.Cluster != "reviews.shop" {
		t.Errorf("node is %q, %q", got.Node.ID, got.Node.Cluster)
	}
	for key, want := range map[string]string{
		"NAME": "reviews-v1-abc", "NAMESPACE": "shop", "SERVICE_ACCOUNT": "reviews", "WORKLOAD_NAME": "reviews-v1",
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "INSTANCE_IPS": "127.0.0.1,::1",
	} {
		if got.Node.Metadata[key] != want {
			t.Errorf("metadata %s is %v, want %q", key, got.Node.Metadata[key], want)
		}
	}
	if at := got.Admin.Address["socket_address"]; at["address"] != "127.0.0.1" || at["port_value"] != 15000.0 {
		t.Errorf("admin is at %v", at)
	}
}

// TestSelfDiscovery: the cluster that Envoy compares others with is static, or
// it could not be named, and its hosts come from the pilot, which is told so.
// Source: Istio, ISTIO_META_ENABLE_SELF_DISCOVERY.
func TestSelfDiscovery(t *testing.T) {
	c := exampleConfig("/run/weft")
	if b := Build(c); b.GetClusterManager().GetLocalClusterName() != "" || b.GetNode().GetMetadata().GetFields()["ENABLE_SELF_DISCOVERY"] != nil {
		t.Errorf("nobody asked for it: %v", b.GetClusterManager())
	}
	c.Node.SelfDiscovery = true
	b := Build(c)
	if b.GetClusterManager().GetLocalClusterName() != "local_cluster" || b.GetClusterManager().GetUpstreamBindConfig() == nil {
		t.Errorf("cluster manager: %v", b.GetClusterManager())
	}
	if b.GetNode().GetMetadata().GetFields()["ENABLE_SELF_DISCOVERY"].GetStringValue() != "true" {
		t.Errorf("metadata: %v", b.GetNode().GetMetadata())
	}
	all := b.GetStaticResources().GetClusters()
	own := all[len(all)-1]
	if own.GetName() != "local_cluster" || own.GetEdsClusterConfig().GetServiceName() != "local_cluster" || own.GetEdsClusterConfig().GetEdsConfig().GetAds() == nil {
		t.Errorf("cluster: %v", own)
	}
}

// TestClusterTag: a cluster's name has dots of its own.
func TestClusterTag(t *testing.T) {
	tag := regexp.MustCompile(clusterTag("cluster.local"))
	for stat, want := range map[string]string{
		"cluster.outbound|80|v1|reviews.shop.svc.cluster.local.upstream_cx_active":              "outbound|80|v1|reviews.shop.svc.cluster.local",
		"cluster.outbound|443||www.example.com.outlier_detection.ejections_active":              "outbound|443||www.example.com",
		"cluster.outbound|80||upstream.shop.svc.cluster.local.circuit_breakers.default.cx_open": "outbound|80||upstream.shop.svc.cluster.local",
		"cluster.outbound|80||reviews.default.svc.cluster.local.upstream_cx_active":             "outbound|80||reviews.default.svc.cluster.local",
		"cluster.outbound|80||db-0.db.external.svc.cluster.local.upstream_cx_active":            "outbound|80||db-0.db.external.svc.cluster.local",
		"cluster.inbound|8080||.upstream_cx_active":                                             "inbound|8080||",
		"cluster.PassthroughCluster.upstream_cx_active":                                         "PassthroughCluster",
		"cluster.xds-grpc.http2.streams_active":                                                 "xds-grpc",
	} {
		if got := tag.FindStringSubmatch(stat); got == nil || got[2] != want || got[1] != want+"." {
			t.Errorf("%s: %q", stat, got)
		}
	}
}

// TestKialisStatistics: a proxy keeps those of its listeners and clusters that Kiali's
// page of a proxy has a panel for, under the names that Kiali knows.
func TestKialisStatistics(t *testing.T) {
	kept := func(stat string) bool {
		return slices.ContainsFunc(inclusions(Stats{}), func(m *matcherv3.StringMatcher) bool {
			suffix, expression := m.GetSuffix(), m.GetSafeRegex().GetRegex()
			return suffix != "" && strings.HasSuffix(stat, suffix) || expression != "" && regexp.MustCompile("^(?:"+expression+")$").MatchString(stat)
		})
	}
	for stat, want := range map[string]string{
		"listener.0.0.0.0_15006.http.inbound_0.0.0.0_8080;.downstream_rq_2xx": "listener.http.downstream_rq",
		"listener.0.0.0.0_15001.downstream_cx_active":                         "listener.downstream_cx_active",
		"cluster.outbound|80||a.n.svc.cluster.local.upstream_rq_total":        "cluster.upstream_rq_total",
		"cluster.outbound|80||a.n.svc.cluster.local.upstream_cx_active":       "cluster.upstream_cx_active",
	} {
		if !kept(stat) {
			t.Errorf("%s is not kept", stat)
		}
		name := stat
		for _, tag := range statsTags("cluster.local") {
			if at := regexp.MustCompile(tag.GetRegex()).FindStringSubmatchIndex(stat); at != nil {
				name = strings.Replace(name, stat[at[2]:at[3]], "", 1)
			}
		}
		if name != want {
			t.Errorf("%s is named %s, want %s", stat, name, want)
		}
	}
	if kept("listener.0.0.0.0_15006.http.inbound_0.0.0.0_8080;.downstream_rq_time") {
		t.Error("more is kept of listeners than Kiali shows")
	}
}

// TestEnvoyAcceptsIt holds both roles against a real Envoy, which must also
// have nothing to warn about.
func TestEnvoyAcceptsIt(t *testing.T) {
	envoy, err := envoybin.Ensure(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []node.Role{node.Sidecar, node.Router} {
		for _, mark := range []uint32{0, 1337} {
			dir := t.TempDir()
			c := exampleConfig(dir)
			c.Node.Role, c.SocketMark, c.Node.SelfDiscovery, c.MaxHeap = role, mark, mark == 0, 512<<20
			c.Stats, c.Runtime = userStats, userRuntime
			raw, err := JSON(c)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "bootstrap.json")
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "--disable-hot-restart", "-l", "warning", "-c", file)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", role, err, out)
			}
			if strings.Contains(string(out), "[warning]") {
				t.Errorf("%s: Envoy warns:\n%s", role, out)
			}
		}
	}
}
