// Package node says who this proxy is: the Envoy node (id, cluster, metadata)
// that the pilot reads, and the environment that the proxy's telemetry reads.
//
// Inputs: what the pod's environment told the agent. Outputs: the node proto
// and NAME=VALUE pairs, equal for equal input. It may import spiffe, but no other
// package of the agent, and does no I/O.
package node

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/spiffe"
)

// Role is what the proxy does, the first field of an Istio node id.
type Role string

// The roles of Istio's node ids that Weft has.
const (
	Sidecar Role = "sidecar" // beside an app
	Router  Role = "router"  // a gateway
)

// Node is one proxy. Role, Name, Namespace and at least one of IPs are
// required; Validate reports what lacks.
//
// Source: Istio's pilot/pkg/model node metadata.
type Node struct {
	Role           Role
	Name           string            // the pod's name
	Namespace      string            // the pod's namespace
	IPs            []netip.Addr      // the pod's addresses, first one primary
	ServiceAccount string            // "" means "default"
	Workload       string            // name of the controller; "" means Name
	ClusterID      string            // "" means "Kubernetes", as in Istio
	MeshID         string            // "" means the trust domain
	TrustDomain    string            // "" means "cluster.local"
	Domain         string            // DNS domain of the cluster; "" means "cluster.local"
	Labels         map[string]string // the pod's labels
	Naming         Naming            // of the workload in spans and logs
	SelfDiscovery  bool              // Envoy is told where the others of its workload are
	Version        string            // of the agent, stated as ISTIO_VERSION
}

// Naming is how spans and logs call a workload's service.
// Source: istio.io/api mesh/v1alpha1, ProxyConfig.TracingServiceName.
type Naming string

// The namings. The zero value is AppAndNamespace.
const (
	AppAndNamespace       Naming = "APP_LABEL_AND_NAMESPACE"
	CanonicalOnly         Naming = "CANONICAL_NAME_ONLY"
	CanonicalAndNamespace Naming = "CANONICAL_NAME_AND_NAMESPACE"
)

// Default names, as Istio has them.
const (
	defaultDomain    = "cluster.local"
	defaultClusterID = "Kubernetes"
)

// WithDefaults returns n with every empty optional field filled in.
func (n Node) WithDefaults() Node {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&n.ServiceAccount, "default")
	fill(&n.Workload, n.Name)
	fill(&n.ClusterID, defaultClusterID)
	fill(&n.TrustDomain, defaultDomain)
	fill(&n.Domain, defaultDomain)
	fill(&n.MeshID, n.TrustDomain)
	return n
}

// Validate reports the first thing that lacks or cannot be, and which
// environment variable carries it.
func (n Node) Validate() error {
	if n.Role != Sidecar && n.Role != Router {
		return fmt.Errorf("node: role %q is neither %q nor %q", n.Role, Sidecar, Router)
	}
	if n.Name == "" {
		return fmt.Errorf("node: the pod's name is empty: set POD_NAME")
	}
	if n.Namespace == "" {
		return fmt.Errorf("node: the pod's namespace is empty: set POD_NAMESPACE")
	}
	if len(n.IPs) == 0 {
		return fmt.Errorf("node: the pod has no address: set INSTANCE_IP to a comma separated list")
	}
	if strings.ContainsAny(n.Name+n.Namespace, "~/ ") {
		return fmt.Errorf("node: pod %q in namespace %q: neither may hold '~', '/' or a space", n.Name, n.Namespace)
	}
	return nil
}

// ID is ROLE~IP~POD.NS~NS.svc.DOMAIN, Istio's form.
func (n Node) ID() string {
	n = n.WithDefaults()
	return fmt.Sprintf("%s~%s~%s.%s~%s.svc.%s", n.Role, n.IPs[0], n.Name, n.Namespace, n.Namespace, n.Domain)
}

// Cluster is the name of the proxy's own service: APP.NS, or what Naming says.
func (n Node) Cluster() string {
	switch n.Naming {
	case CanonicalOnly:
		return n.CanonicalService()
	case CanonicalAndNamespace:
		return n.CanonicalService() + "." + n.Namespace
	case AppAndNamespace:
	}
	return n.firstLabel(n.WithDefaults().Workload, "app") + "." + n.Namespace
}

// CanonicalService is the app's name: the first label found of Istio's list,
// else the workload.
func (n Node) CanonicalService() string {
	return n.firstLabel(n.WithDefaults().Workload, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
}

// CanonicalRevision is the app's version: the first label found of Istio's
// list, else "latest", which readers take for "none".
func (n Node) CanonicalRevision() string {
	return n.firstLabel("latest", "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
}

func (n Node) firstLabel(fallback string, keys ...string) string {
	for _, key := range keys {
		if v := n.Labels[key]; v != "" {
			return v
		}
	}
	return fallback
}

// Proto is the node as Envoy and the agent's own stream send it. n must be
// valid.
func (n Node) Proto() *corev3.Node {
	n = n.WithDefaults()
	return &corev3.Node{
		Id:       n.ID(),
		Cluster:  n.Cluster(),
		Metadata: &structpb.Struct{Fields: n.metadata()},
		Locality: n.locality(),
	}
}

func (n Node) metadata() map[string]*structpb.Value {
	labels := make(map[string]*structpb.Value, len(n.Labels))
	for k, v := range n.Labels {
		labels[k] = structpb.NewStringValue(v)
	}
	out := map[string]*structpb.Value{
		"NAME":            structpb.NewStringValue(n.Name),
		"NAMESPACE":       structpb.NewStringValue(n.Namespace),
		"SERVICE_ACCOUNT": structpb.NewStringValue(n.ServiceAccount),
		"WORKLOAD_NAME":   structpb.NewStringValue(n.Workload),
		"CLUSTER_ID":      structpb.NewStringValue(n.ClusterID),
		"MESH_ID":         structpb.NewStringValue(n.MeshID),
		"INSTANCE_IPS":    structpb.NewStringValue(n.ipList()),
		"ISTIO_VERSION":   structpb.NewStringValue(n.Version),
		"LABELS":          structpb.NewStructValue(&structpb.Struct{Fields: labels}),
	}
	if n.SelfDiscovery {
		out["ENABLE_SELF_DISCOVERY"] = structpb.NewStringValue("true")
	}
	return out
}

func (n Node) ipList() string {
	texts := make([]string, len(n.IPs))
	for i, ip := range n.IPs {
		texts[i] = ip.String()
	}
	return strings.Join(texts, ",")
}

// locality comes from the labels that Kubernetes and Istio give a pod; nil
// when they say nothing, so that the pilot may know better.
func (n Node) locality() *corev3.Locality {
	if own := n.Labels["istio-locality"]; own != "" {
		if !strings.Contains(own, "/") {
			own = strings.ReplaceAll(own, ".", "/")
		}
		part := append(strings.SplitN(own, "/", 3), "", "")
		return &corev3.Locality{Region: part[0], Zone: part[1], SubZone: part[2]}
	}
	region := n.Labels["topology.kubernetes.io/region"]
	if region == "" {
		return nil
	}
	return &corev3.Locality{
		Region:  region,
		Zone:    n.Labels["topology.kubernetes.io/zone"],
		SubZone: n.Labels["topology.istio.io/subzone"],
	}
}

// Environment is what %ENVIRONMENT(NAME)% in a proxy's access loggers reads:
// all that differs by workload only, so that it need not be in xDS. No value
// is empty, for Prometheus drops an empty label; the labels of the workload are
// as its certificate holds them. Sorted NAME=VALUE.
func (n Node) Environment() []string {
	n = n.WithDefaults()
	values := map[string]string{
		"POD_NAME":                 n.Name,
		"POD_NAMESPACE":            n.Namespace,
		"WEFT_POD":                 n.Name,
		"WEFT_NAMESPACE":           spiffe.NamespaceLabel.Short(n.Namespace),
		"WEFT_WORKLOAD":            spiffe.WorkloadLabel.Short(n.Workload),
		"WEFT_SERVICE_ACCOUNT":     n.ServiceAccount,
		"WEFT_CLUSTER":             n.ClusterID,
		"WEFT_MESH":                n.MeshID,
		"OTEL_RESOURCE_ATTRIBUTES": n.resource(),
		"WEFT_PRINCIPAL":           fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", n.TrustDomain, n.Namespace, n.ServiceAccount),
		"WEFT_APP":                 n.firstLabel("unknown", "app"),
		"WEFT_VERSION":             n.firstLabel("unknown", "version"),
		"WEFT_CANONICAL_SERVICE":   spiffe.AppLabel.Short(n.CanonicalService()),
		"WEFT_CANONICAL_REVISION":  spiffe.VersionLabel.Short(n.CanonicalRevision()),
	}
	out := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, name+"="+values[name])
	}
	return out
}

// resource says in spans and logs of OpenTelemetry who the workload is.
// Source: OpenTelemetry, "Resource SDK" and "Kubernetes semantic conventions".
func (n Node) resource() string {
	return fmt.Sprintf("service.name=%s,service.namespace=%s,service.version=%s,service.instance.id=%s,k8s.namespace.name=%[2]s,k8s.pod.name=%[4]s",
		n.Cluster(), n.Namespace, n.CanonicalRevision(), n.Name)
}
