package model

import (
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/memo"
)

// Role of a class of proxies.
type Role string

// A sidecar is of two classes, so that a thousand sidecars of a namespace
// share one outbound translation.
const (
	RoleOutbound Role = "outbound" // a sidecar's client side
	RoleInbound  Role = "inbound"  // a sidecar's server side
	RoleRouter   Role = "router"   // a gateway
	// A process that speaks xDS itself, as gRPC does, has two classes too.
	RoleGRPCClient Role = "grpc-client"
	RoleGRPCServer Role = "grpc-server"
)

// ProxyClass is everything that a proxy's configuration may depend on. It is
// comparable; equal classes share one translation.
type ProxyClass struct {
	Role      Role
	Namespace string
	// Labels are those that some object selects on, as FormatLabels gives
	// them; others split no class.
	Labels string
	// Ports are the workload's named ports ("http=8080,..."), for inbound and
	// router classes whose services use named target ports.
	Ports string
	// Bare proxies have proven no identity, so they hold no certificate and
	// most likely no agent: what needs one is left out where nothing asks for it.
	Bare bool
	// Sidecar is the "namespace/name" of the Sidecar that holds for the proxy;
	// empty: none says anything of this side of it.
	Sidecar string
	// Reach is how much of the mesh that Sidecar lets it see.
	Reach Reach
	// Metadata are the node metadata that some EnvoyFilter selects on, as
	// FormatLabels gives them, each key and value escaped as in a URL's query.
	Metadata string
	// SelfDiscovery: the proxy knows where the others of its workload are, so
	// that Envoy routes by zone unless a cluster says otherwise.
	SelfDiscovery bool
	// Workload is the name of the workload of a proxy with SelfDiscovery, for
	// inbound and router classes.
	Workload string
	// Proxy is what the pod says of its own proxy.
	Proxy OwnProxy
	// Domain is the proxy's DNS domain suffix, if not "NAMESPACE.svc.CLUSTERDOMAIN".
	Domain string
}

// Selects reports whether labels have all of selector, with its values. An empty
// selector selects all.
func Selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// FormatLabels gives labels in a canonical, comparable form: "a=1,b=2".
func FormatLabels(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for k, v := range labels {
		parts = append(parts, k+"="+v)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// ParseLabels is the inverse of FormatLabels.
func ParseLabels(s string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		if k, v, ok := strings.Cut(part, "="); ok {
			out[k] = v
		}
	}
	return out
}

// Proxy is one connected proxy as the pilot knows it. Namespace and
// ServiceAccount come from its certificate where it has one.
type Proxy struct {
	ID             string // node id
	Sidecar        bool   // else a router
	Name           string // of the pod
	Namespace      string
	ServiceAccount string
	Labels         map[string]string
	Addresses      []string
	ClusterID      string
	// Metadata are the strings of the node's metadata.
	Metadata map[string]string
	// Locality is what the proxy says of itself; the mesh knows it of its pods.
	Locality Locality
	Proven   bool // the identity was proven by a certificate
	// Proxyless: it is no Envoy but a gRPC library, by its own word.
	Proxyless bool
}

// View is everything that a translation for a class may see. A translation
// gets nothing else.
type View struct {
	Class    ProxyClass
	Settings *Settings
	// Clusters by name; for inbound classes those to the app.
	Clusters memo.Table[*Cluster]
	// Assignments are the endpoints of EDS clusters, by cluster name.
	Assignments memo.Table[*Assignment]
	// Listeners by name.
	Listeners memo.Table[*Listener]
	// Tables are the HTTP route tables, by name.
	Tables memo.Table[*RouteTable]
	// Hosts are the virtual hosts of Tables, by "TABLE/NAME".
	Hosts memo.Table[*VirtualHost]
	// Names are DNS answers, by fully qualified host.
	Names memo.Table[*Name]
	// Secrets are those of the proxy's namespace that its servers and clusters
	// name, by "namespace/name"; a CA bundle that is in a Secret of its own has
	// been put into them.
	Secrets memo.Table[*Secret]
	// Inbound is set for inbound classes, else nil.
	Inbound *Inbound
	// Unknown is set for outbound classes: the cluster to which connections to
	// unknown destinations go; AskedCluster is for HTTP alone.
	Unknown string
	// Authorizations are the AuthorizationPolicies that hold for the class, by
	// "namespace/name"; outbound classes have none.
	Authorizations memo.Table[*Authorization]
	// Authorizers are those that the Authorizations ask and that the proxies can
	// reach, by name; their clusters are in Clusters.
	Authorizers memo.Table[*AskedAuthorizer]
	// TokenPolicies are the RequestAuthentications, in the same way.
	TokenPolicies memo.Table[*TokenPolicy]
	// Reporting is what the proxies tell of what passes them.
	Reporting *Reporting
	// Filters are the EnvoyFilters that select the class, by "namespace/name".
	Filters memo.Table[*EnvoyFilter]
}

// Name is a DNS answer.
type Name struct {
	Host      string
	Addresses []string // sorted
}

// Cluster is one Envoy cluster to a service's port, or a subset of it.
type Cluster struct {
	Name    string // outbound|PORT|SUBSET|HOST
	Service *Service
	Port    Port
	Subset  string
	// Traffic is what holds for this port and subset, all merged.
	Traffic Traffic
	// SNI of mesh mTLS: outbound_.PORT_.SUBSET_.HOST.
	SNI string
	// Plain: a bare proxy's cluster of endpoints that all speak plaintext.
	Plain bool
	// MeshOnly: bytes of mesh mTLS are passed on as they are, to those endpoints
	// alone that take it.
	MeshOnly bool
	// Secured: of a gRPC client, some endpoint terminates mesh mTLS. Such a
	// client has one way for all endpoints of a cluster.
	Secured bool
	// Identities are the SPIFFE URIs that may answer; empty: any of the
	// trust domain.
	Identities []string
	Origin     Origin // of the DestinationRule
	// Endpoints of services that are found by DNS; those of others are an
	// Assignment.
	Endpoints []*Endpoint
	// Locality is what of locality load balancing is in force; nil: nothing.
	Locality *LocalityPolicy
}

// EDS reports whether the cluster's endpoints are an Assignment; else they are
// resolved by DNS or are the address that the client dialled.
func (c *Cluster) EDS() bool { return c.Service.Resolve == ResolveEndpoints && !c.Dialled() }

// Dialled reports whether connections go to the address that the client chose.
func (c *Cluster) Dialled() bool {
	return c.Service.Resolve == ResolveNone || c.Traffic.LB != nil && c.Traffic.LB.Algorithm == LBPassthrough
}

// Assignment is what EDS says of one cluster.
type Assignment struct {
	Cluster   string
	Endpoints []*Endpoint
	// Groups are the Endpoints where locality load balancing is in force; else nil.
	Groups []Group
}

// RouteTable is one HTTP route table; its virtual hosts are View.Hosts.
type RouteTable struct {
	Name string // "80", or a gateway's "http.80"
	// Fallback answers what no virtual host takes.
	Fallback Fallback
	// Proxy is the cluster that takes what passes through; empty: the address
	// that the client dialled.
	Proxy string
	// Ports: the domains of its virtual hosts have the port that is called.
	Ports bool
}

// Fallback of a route table.
type Fallback int

// The zero value answers 404.
const (
	FallbackNotFound    Fallback = iota
	FallbackPassthrough          // to the address the client dialled
	FallbackBlackHole            // 502
	FallbackMisdirected          // 421
)

// VirtualHost is the routes of some domains in a table. Destinations carry
// their Cluster.
type VirtualHost struct {
	Table        string
	Name         string // "reviews.default.svc.cluster.local:80"
	Domains      []string
	Routes       []*Route
	RequireHTTPS bool // redirect plaintext to https
}

// Listener is one Envoy listener of the outbound or router side.
type Listener struct {
	Name    string // 0.0.0.0_80, 10.96.0.1_443
	Address string // to bind; 0.0.0.0 stands for all addresses of both families
	Port    uint32
	Capture bool // reached from virtualOutbound only, never bound
	// Detect makes plaintext HTTP and other TCP tell themselves apart.
	Detect bool
	// ServerFirst: with Detect, the servers of some chain may speak first, so
	// that clients may have nothing to say.
	ServerFirst bool
	Chains      []Chain
	// Gateways are the objects whose servers it serves, the first by rank first.
	Gateways []Origin
}

// Chain is one filter chain: exactly one of HTTP, TCP and ByServerName is set.
type Chain struct {
	// Name is unique in the listener and outlives changes of other chains: Envoy
	// drains the connections of a chain whose name changes. Empty: by position.
	Name string
	// CIDRs are the addresses dialled, "10.0.0.0/24"; empty: any.
	CIDRs []string
	SNI   []string // server names; empty: any
	// Sources are the addresses dialled from, as CIDRs; empty: any.
	Sources []string
	// Origin of the object that routes it; empty: none does.
	Origin Origin
	TLS    *ServerTLS // terminate; nil: do not
	HTTP   *HTTPChain
	TCP    *TCPChain
	// RawTLS: the chain takes TLS that is passed through.
	RawTLS bool
	// ByServerName forwards bytes to the cluster that is called as the server
	// name, which is one of SNI; HTTP and TCP are nil.
	ByServerName bool
	// OnlyHTTP: with Detect, the chain for what was found to be HTTP.
	OnlyHTTP bool
}

// HTTPChain routes requests by a table.
type HTTPChain struct {
	Table string
	// GRPCWeb turns gRPC-Web of clients into gRPC.
	GRPCWeb bool
	// Asked: some of its clusters connect to the host that a request names.
	Asked bool
}

// TCPChain forwards bytes.
type TCPChain struct {
	Clusters []WeightedCluster // at least one
	// IdleTimeout closes a connection that is silent; 0: Envoy's hour.
	IdleTimeout time.Duration
	// Asked is the port at which a cluster connects to the server name; 0: none
	// does.
	Asked uint32
	// MaxDuration closes a connection of that age; 0: never.
	MaxDuration time.Duration
	// Tunnel carries the bytes to the destination; nil: none.
	Tunnel *Tunnel
	// HashSource: the client's address chooses the endpoint.
	HashSource bool
}

// WeightedCluster is a share of connections.
type WeightedCluster struct {
	Name   string
	Weight uint32
	// To is where the cluster leads, if a route says so.
	To Destination
}

// Inbound is the server side of a sidecar.
type Inbound struct {
	// Ports of services that select the workload, by Port.
	Ports []InboundPort
	// Mode for every port that is not in Ports.
	Mode MTLSMode
	// Policies are the PeerAuthentications that the modes come from, the widest
	// first.
	Policies []Origin
}

// InboundPort is one port of the workload that a service targets, or to which
// a policy gives a mode.
type InboundPort struct {
	Port     uint32 // of the workload
	Protocol Protocol
	Mode     MTLSMode
	// Cluster is inbound|PORT||.
	Cluster string
	// Service that targets it (the first by host), for telemetry; nil if none.
	Service *Service
	Pool    *ConnectionPool
	// Reports: answers to callers in the mesh tell how long the app took.
	Reports bool
	// Bind is the address on which the proxy listens itself; empty: captured
	// connections.
	Bind string
	// Local is where the app listens, as IngressListener.Local, and LocalPort its
	// port; both empty: at the address and port that the client dialled.
	Local     string
	LocalPort uint32
	// TLS is terminated for callers from outside the mesh, where Mode is
	// MTLSDisable; nil: it is not.
	TLS *ServerTLS
}
