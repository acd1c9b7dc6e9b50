package kube

import (
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/internal/config"
)

// kind is one resource that is followed.
type kind struct {
	name     config.Kind
	group    string
	versions []string // the first that is served counts
	resource string   // plural, lower case
	// namespace and fields narrow what is read; "" for all.
	namespace, fields string
	custom            bool // has a CRD, which may be missing
	// read makes an object of what the API server sent.
	read reader
}

// Pods that have ended are nobody's endpoints or proxies.
const livePods = "status.phase!=Succeeded,status.phase!=Failed"

// stores lists what the source follows, but for Secrets.
func (s *Source) stores() (all []*store) {
	for _, k := range coreKinds {
		if s.only != "" && (k.name == config.Namespace || k.name == config.Node) {
			continue
		}
		k.namespace, k.read = s.only, s.trim.read
		all = append(all, &store{world: s.world, kind: k})
	}
	for _, c := range customKinds {
		k := kind{name: c.name, group: c.group, versions: customVersions, resource: c.resource, namespace: s.only, custom: true, read: readCustom}
		all = append(all, &store{world: s.world, kind: k})
	}
	settings := kind{
		name: config.MeshConfig, versions: stable, resource: "configmaps",
		namespace: s.namespace, fields: byName + s.settings, read: meshConfigReader(s.namespace, s.settings),
	}
	return append(all, &store{world: s.world, kind: settings, only: meshKey, absent: defaultMeshConfig(s.namespace)})
}

var stable = []string{"v1"}

// coreKinds are Kubernetes' own.
var coreKinds = []kind{
	{name: config.Service, versions: stable, resource: "services"},
	{name: config.Pod, versions: stable, resource: "pods", fields: livePods},
	{name: config.Namespace, versions: stable, resource: "namespaces"},
	{name: config.Node, versions: stable, resource: "nodes"},
	{name: config.EndpointSlice, group: discoveryv1.GroupName, versions: stable, resource: "endpointslices"},
}

// customVersions in the order of preference; their schemas are the same.
var customVersions = []string{"v1", "v1beta1", "v1alpha3", "v1alpha1"}

const (
	networkingGroup = "networking.istio.io"
	securityGroup   = "security.istio.io"
	telemetryGroup  = "telemetry.istio.io"
)

// customKinds are Istio's that config decodes.
var customKinds = []struct {
	name            config.Kind
	group, resource string
}{
	{config.VirtualService, networkingGroup, "virtualservices"},
	{config.DestinationRule, networkingGroup, "destinationrules"},
	{config.Gateway, networkingGroup, "gateways"},
	{config.ServiceEntry, networkingGroup, "serviceentries"},
	{config.Sidecar, networkingGroup, "sidecars"},
	{config.WorkloadEntry, networkingGroup, "workloadentries"},
	{config.WorkloadGroup, networkingGroup, "workloadgroups"},
	{config.EnvoyFilter, networkingGroup, "envoyfilters"},
	{config.ProxyConfig, networkingGroup, "proxyconfigs"},
	{config.PeerAuthentication, securityGroup, "peerauthentications"},
	{config.RequestAuthentication, securityGroup, "requestauthentications"},
	{config.AuthorizationPolicy, securityGroup, "authorizationpolicies"},
	{config.Telemetry, telemetryGroup, "telemetries"},
}

func (k kind) at(version string) schema.GroupVersion {
	return schema.GroupVersion{Group: k.group, Version: version}
}

// what names the kind in messages; a narrowed one by its namespace and fields.
func (k kind) what() string {
	switch {
	case k.namespace == "":
		return k.resource
	case !strings.HasPrefix(k.fields, byName):
		return k.resource + " of " + k.namespace
	}
	return k.resource + " " + k.namespace + "/" + strings.TrimPrefix(k.fields, byName)
}

// byName is the field selector of a single object.
const byName = "metadata.name="
