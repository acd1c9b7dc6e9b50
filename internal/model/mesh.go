// Package model is the mesh in plain Go: what users' objects mean, free of any
// foreign type.
//
// In: nothing (it holds values). Out: Mesh, the compiled state of everything;
// View, all that the configuration of one class of proxies may depend on.
// Every value is immutable once it is in a table. Imports: the standard
// library and memo, nothing else.
package model

import (
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/memo"
)

// Mesh is everything that users' objects mean, before it is scoped to a class
// of proxies. The zero Mesh is empty; Settings must not be nil.
type Mesh struct {
	Settings        *Settings
	Services        memo.Table[*Service]        // by Key: the host, but for rivals
	Endpoints       memo.Table[*Endpoints]      // by Key of the service
	Policies        memo.Table[*Policy]         // by "namespace/name" of the DestinationRule
	VirtualServices memo.Table[*VirtualService] // by "namespace/name"
	Gateways        memo.Table[*Gateway]        // by "namespace/name"
	PeerAuth        memo.Table[*PeerAuth]       // by "namespace/name"
	EnvoyFilters    memo.Table[*EnvoyFilter]    // by "namespace/name"
	Authorizations  memo.Table[*Authorization]  // by "namespace/name"
	TokenPolicies   memo.Table[*TokenPolicy]    // by "namespace/name"
	Workloads       memo.Table[*Workload]       // by "namespace/name" of the pod
	Secrets         memo.Table[*Secret]         // by "namespace/name": TLS credentials
	Sidecars        memo.Table[*Sidecar]        // by "namespace/name"
	Telemetries     memo.Table[*Telemetry]      // by "namespace/name"
}

// Settings are MeshConfig's traffic settings, with defaults filled in.
type Settings struct {
	TrustDomain string // default "cluster.local"
	// TrustAliases are other trust domains whose identities count as this one's.
	TrustAliases     []string
	ClusterDomain    string // default "cluster.local"
	RootNamespace    string // default "weft-system"
	ClusterID        string // default "Kubernetes"
	OutboundAllowAny bool   // unknown destinations pass (default), else BlackHoleCluster
	// OutboundAsked, with OutboundAllowAny: requests to unknown hosts go where DNS
	// says that the host is; nil: to the address that the client dialled.
	OutboundAsked *AskedUnknown
	AutoMTLS      bool // default true
	// Telemetry is for where no Telemetry object says anything.
	Telemetry TelemetryDefaults
	// ConnectTimeout bounds a TCP connect to an endpoint; default 10 s.
	ConnectTimeout time.Duration
	// DNSRefresh is when a name is asked for again whose answer says nothing of
	// how long it holds; default 60 s.
	DNSRefresh time.Duration
	// ProtocolDetectionTimeout bounds the wait for a client's first bytes where
	// what it speaks must be told; 0: for ever; nil: nothing is said, and it is
	// short where the server may speak first.
	ProtocolDetectionTimeout *time.Duration
	// DefaultRetry is MeshConfig's defaultHttpRetryPolicy, else Istio's two
	// attempts on connect-failure,refused-stream,unavailable,cancelled.
	DefaultRetry *Retry
	// HTTP10 accepts HTTP/1.0 requests.
	HTTP10 bool
	// HTTPProxyPort is where sidecars are HTTP proxies of their apps, on
	// loopback; 0: nowhere.
	HTTPProxyPort uint32
	// Balancer is what weft.mesh/load-balancer says for the whole mesh.
	Balancer LBAlgorithm
	// ServiceExport, VirtualServiceExport and DestinationRuleExport are where
	// objects go that say nothing themselves; the default is to all namespaces.
	ServiceExport, VirtualServiceExport, DestinationRuleExport Visibility
	// Locality is for services whose rules say nothing of it; nil is Istio's
	// default, failover by locality.
	Locality *LocalityPolicy
	// HostOwnership is weft.mesh/host-ownership.
	HostOwnership Ownership
	// DeniedBy is weft.mesh/denied-by.
	DeniedBy DeniedBy
	// ProxySettings are MeshConfig's defaultConfig.
	ProxySettings
	// Defaults hold where no object says anything.
	Defaults TrafficDefaults
	// Authorizers are those of MeshConfig's extensionProviders that can be used,
	// by name.
	Authorizers []*Authorizer
}

// Origin names the object that a piece of configuration comes from, as Kiali
// reads it from Envoy metadata: "/apis/networking.istio.io/v1/namespaces/NS/virtual-service/NAME".
// Empty: none.
type Origin string

// Source gives the object as "Kind/namespace/name"; empty if o names none.
func (o Origin) Source() string {
	rest, name, ok := cutLast(string(o))
	rest, kinds, also := cutLast(rest)
	_, namespace, well := cutLast(rest)
	if !ok || !also || !well {
		return ""
	}
	out := make([]byte, 0, len(o))
	for word := range strings.SplitSeq(kinds, "-") {
		if word != "" {
			out = append(append(out, strings.ToUpper(word[:1])...), word[1:]...)
		}
	}
	out = append(append(out, '/'), namespace...)
	return string(append(append(out, '/'), name...))
}

func cutLast(s string) (before, after string, found bool) {
	at := strings.LastIndexByte(s, '/')
	if at < 0 {
		return "", s, false
	}
	return s[:at], s[at+1:], true
}

// Visibility says to which namespaces an object is exported. The zero value
// is "to all".
type Visibility struct {
	None       bool     // "~"
	Private    bool     // "." among the entries
	Namespaces []string // sorted; set: only these (and "." if Private)
	Restricted bool     // false: to all
}

// Sees reports whether a proxy in namespace ns sees an object of namespace
// owner.
func (v Visibility) Sees(owner, ns string) bool {
	return v.SeenBy(owner, func(namespace string) bool { return namespace == ns })
}

// SeenBy is Sees for a proxy that is in the namespace for which in holds. It
// asks only where the answer matters.
func (v Visibility) SeenBy(owner string, in func(namespace string) bool) bool {
	switch {
	case v.None:
		return false
	case !v.Restricted:
		return true
	case v.Private && in(owner):
		return true
	}
	return slices.ContainsFunc(v.Namespaces, in)
}

// Secret is a TLS credential for a gateway or a client. Its bytes print as
// [redacted].
type Secret struct {
	Namespace, Name string
	Cert            []byte // PEM chain
	Key             PrivateKey
	CA              []byte   // PEM bundle, empty if none
	CRL             []byte   // PEM, certificates that CA has revoked; empty if none
	KeyType         string   // of Key: "RSA", "ECDSA"; empty without
	Names           []string // DNS names of Cert, else its common name; sorted
}

// Clashes reports whether Envoy refuses both in one server: a proxy could not
// choose between certificates of one kind of key for one name.
func (s *Secret) Clashes(other *Secret) bool {
	return s.KeyType == other.KeyType && slices.ContainsFunc(s.Names, func(n string) bool { return slices.Contains(other.Names, n) })
}

// PrivateKey is PEM that prints as [redacted] in every format.
type PrivateKey []byte

// String hides the key.
func (PrivateKey) String() string { return "[redacted]" }

// GoString hides the key.
func (PrivateKey) GoString() string { return "[redacted]" }

// MarshalText hides the key in JSON, YAML and logs.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Workload is one pod as the pilot knows it: what its proxy may claim.
type Workload struct {
	Namespace, Name string
	Labels          map[string]string
	ServiceAccount  string
	Addresses       []string
	Node            string
	Locality        Locality
	// Ports are the named container ports, for named target ports.
	Ports map[string]uint32
	// Controller is the owning workload's name (Deployment, ...), else the
	// pod's.
	Controller string
	App        string // canonical service
	Version    string // canonical revision
	InMesh     bool   // it has a sidecar: mTLS can be spoken to it
	// Proxyless: its gRPC library speaks xDS, beside an agent without Envoy.
	Proxyless bool
	// Proxy is what the pod says of its own proxy, in place of what is for all; nil:
	// nothing.
	Proxy *ProxySettings
	// Joined: it is no pod but a WorkloadEntry, which an agent may speak for.
	Joined bool
}

// Locality is where an endpoint or proxy runs; the zero value is "unknown".
type Locality struct{ Region, Zone, SubZone string }
