package compile

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/config"
)

func TestSettingsThatAreWrong(t *testing.T) {
	bad := &mesh.MeshConfig{
		TrustDomain: "Not A Domain", RootNamespace: "Not_A_Namespace", AccessLogFile: "/dev/std\nout",
		ConnectTimeout: durationpb.New(-1), ProtocolDetectionTimeout: durationpb.New(-1),
		OutboundTrafficPolicy: &mesh.MeshConfig_OutboundTrafficPolicy{Mode: 9},
	}
	r := Mesh(config.Set{}.With(object(config.MeshConfig, "", "mesh", bad)))
	want := defaultSettings()
	want.OutboundAllowAny = false
	if !equal(r.Mesh.Settings, want) {
		t.Errorf("got %+v", r.Mesh.Settings)
	}
	if got := list(r); len(got) != 6 {
		t.Errorf("findings: %q", got)
	}
}

func TestOneMeshConfigCounts(t *testing.T) {
	c := New()
	other := object(config.MeshConfig, "", "another", &mesh.MeshConfig{TrustDomain: "another"})
	set := config.Set{}.With(other)
	if r := c.Mesh(set); r.Mesh.Settings.TrustDomain != "another" || r.Findings.Len() != 0 {
		t.Errorf("got %+v, %v", r.Mesh.Settings, list(r))
	}
	both := set.With(newMeshConfig("mesh"))
	first := c.Mesh(both)
	if first.Mesh.Settings.TrustDomain != "mesh" || first.Findings.Len() != 1 {
		t.Errorf("got %+v, %v", first.Mesh.Settings, list(first))
	}
	if again := c.Mesh(both); again.Findings != first.Findings || again.Mesh != first.Mesh {
		t.Error("the same set gave another result")
	}
	if r := c.Mesh(config.Set{}); r.Mesh.Settings.TrustDomain != "cluster.local" || r.Findings.Len() != 0 {
		t.Errorf("got %+v, %v", r.Mesh.Settings, list(r))
	}
}

// A cluster's MeshConfig is shared with other programs: what is not used is
// said, and no error, unless the mesh would be less safe for it.
func TestSettingsThatAreNotUsed(t *testing.T) {
	in := &mesh.MeshConfig{
		DefaultConfig: &mesh.ProxyConfig{ProxyAdminPort: 15001, GatewayTopology: &mesh.Topology{NumTrustedProxies: 1},
			ProxyStatsMatcher: &mesh.ProxyConfig_ProxyStatsMatcher{InclusionRegexps: []string{"("}}},
		DefaultProviders:   &mesh.MeshConfig_DefaultProviders{Metrics: []string{"prometheus"}},
		ExtensionProviders: []*mesh.MeshConfig_ExtensionProvider{{Name: "otel", Provider: &mesh.MeshConfig_ExtensionProvider_Prometheus{Prometheus: &mesh.MeshConfig_ExtensionProvider_PrometheusMetricsProvider{}}}},
		Ca:                 &mesh.MeshConfig_CA{Address: "ca.example:443"},
	}
	r := Mesh(config.Set{}.With(object(config.MeshConfig, "", "mesh", in)))
	var got []string
	for _, f := range r.Findings.All() {
		for _, d := range f.List {
			got = append(got, d.Severity.String()+" "+d.Path)
		}
	}
	want := []string{"warning defaultConfig.proxyAdminPort", "warning ca", "error defaultConfig.proxyStatsMatcher.inclusionRegexps[0]"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
