package node

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/spiffe"
)

func example() Node {
	return Node{Role: Router, Name: "gw-1", Namespace: "weft-system", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}
}

func TestNames(t *testing.T) {
	n := example()
	if got := n.ID(); got != "router~10.0.0.9~gw-1.weft-system~weft-system.svc.cluster.local" {
		t.Errorf("id %s", got)
	}
}

// TestNaming: spans and logs are of the app's label, or of the canonical name.
// Source: istio.io/api mesh/v1alpha1, ProxyConfig.TracingServiceName.
func TestNaming(t *testing.T) {
	const canonical = "service.istio.io/canonical-name"
	for _, c := range []struct {
		labels map[string]string
		naming Naming
		want   string
	}{
		{nil, "", "gw-1.weft-system"},
		{map[string]string{"app": "x", canonical: "y"}, "", "x.weft-system"},
		{map[string]string{"app": "x", canonical: "y"}, AppAndNamespace, "x.weft-system"},
		{map[string]string{canonical: "y"}, "", "gw-1.weft-system"},
		{map[string]string{"app": "x", canonical: "y"}, CanonicalOnly, "y"},
		{map[string]string{"app": "x", "app.kubernetes.io/name": "z"}, CanonicalAndNamespace, "z.weft-system"},
		{nil, CanonicalAndNamespace, "gw-1.weft-system"},
		{map[string]string{"app": "x"}, CanonicalOnly, "x"},
	} {
		n := example()
		n.Labels, n.Naming = c.labels, c.naming
		if got := n.Cluster(); got != c.want || !strings.HasPrefix(n.resource(), "service.name="+c.want+",") || n.Proto().GetCluster() != c.want {
			t.Errorf("%v, %s: %s, %s, want %s", c.labels, c.naming, got, n.resource(), c.want)
		}
	}
}

// TestEnvironmentHasNoEmptyValue: Prometheus drops an empty label, and readers
// require them all.
func TestEnvironmentHasNoEmptyValue(t *testing.T) {
	env := example().Environment()
	for _, pair := range env {
		if strings.HasSuffix(pair, "=") {
			t.Error(pair)
		}
	}
	if !slices.IsSorted(env) || !slices.Contains(env, "WEFT_PRINCIPAL=spiffe://cluster.local/ns/weft-system/sa/default") {
		t.Errorf("%v", env)
	}
}

// TestLongNamesAreThoseOfTheCertificate: else this side of a call names itself
// otherwise than the other side reads it.
func TestLongNamesAreThoseOfTheCertificate(t *testing.T) {
	long := strings.Repeat("a", 63)
	n := example()
	n.Workload, n.Namespace, n.Labels = long, long, map[string]string{"app": long, "version": long}
	env := n.Environment()
	for _, want := range []string{
		"WEFT_WORKLOAD=" + spiffe.WorkloadLabel.Short(long), "WEFT_NAMESPACE=" + spiffe.NamespaceLabel.Short(long),
		"WEFT_CANONICAL_SERVICE=" + spiffe.AppLabel.Short(long), "WEFT_CANONICAL_REVISION=" + spiffe.VersionLabel.Short(long),
		"POD_NAMESPACE=" + long,
	} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %v", want, env)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Node){
		"role": func(n *Node) { n.Role = "waypoint" }, "name": func(n *Node) { n.Name = "" }, "namespace": func(n *Node) { n.Namespace = "" },
		"address": func(n *Node) { n.IPs = nil }, "tilde": func(n *Node) { n.Name = "a~b" },
	} {
		n := example()
		change(&n)
		if n.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := example().Validate(); err != nil {
		t.Error(err)
	}
}

// TestLocality: the pod's own label goes before those of its Kubernetes node.
// Source: Istio, istio-locality.
func TestLocality(t *testing.T) {
	for _, c := range []struct {
		labels map[string]string
		want   string
	}{
		{map[string]string{"topology.kubernetes.io/zone": "eu-1"}, "//"},
		{map[string]string{"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-1"}, "eu/eu-1/"},
		{map[string]string{"topology.kubernetes.io/region": "eu", "istio-locality": "us.us-1.a"}, "us/us-1/a"},
		{map[string]string{"istio-locality": "us/us-1.b"}, "us/us-1.b/"},
	} {
		n := example()
		n.Labels = c.labels
		l := n.Proto().GetLocality()
		if got := l.GetRegion() + "/" + l.GetZone() + "/" + l.GetSubZone(); got != c.want {
			t.Errorf("%v: %s, want %s", c.labels, got, c.want)
		}
	}
}
