package model

import (
	"slices"
	"time"
)

// Protocol of a port.
type Protocol int

// The zero value, ProtocolAuto, is found out per connection.
const (
	ProtocolAuto    Protocol = iota
	ProtocolTCP              // bytes
	ProtocolHTTP             // HTTP/1.1 to the endpoint
	ProtocolHTTP2            // HTTP/2 without TLS
	ProtocolGRPC             // HTTP/2 that carries gRPC
	ProtocolTLS              // TLS, told apart by SNI (https, tls)
	ProtocolUDP              // not captured
	ProtocolGRPCWeb          // ProtocolGRPC, whose clients may speak gRPC-Web
)

// String gives the name as in a port's appProtocol.
func (p Protocol) String() string {
	return [...]string{"auto", "tcp", "http", "http2", "grpc", "tls", "udp", "grpc-web"}[p]
}

// IsHTTP reports whether requests on the port can be routed one by one.
func (p Protocol) IsHTTP() bool {
	return p == ProtocolHTTP || p.IsHTTP2()
}

// IsHTTP2 reports whether the endpoint speaks HTTP/2.
func (p Protocol) IsHTTP2() bool {
	return p == ProtocolHTTP2 || p == ProtocolGRPC || p == ProtocolGRPCWeb
}

// Resolution says how a service's endpoints are found.
type Resolution int

// The zero value, ResolveEndpoints, is EDS.
const (
	ResolveEndpoints Resolution = iota // EndpointSlices, sent by EDS
	ResolveDNS                         // the proxy asks DNS (ExternalName, ServiceEntry)
	ResolveNone                        // the address that the client dialled
	ResolveFirst                       // the proxy asks DNS and takes the first address (DNS_ROUND_ROBIN)
	ResolveAsked                       // the proxy asks DNS for the host that the client named (DYNAMIC_DNS)
)

// ByDNS reports whether the endpoints are names, which the proxy looks up.
func (r Resolution) ByDNS() bool { return r == ResolveDNS || r == ResolveFirst }

// Service is a name in the mesh with its ports.
type Service struct {
	Host      string // fully qualified, lower case: reviews.default.svc.cluster.local
	Namespace string
	Name      string            // short name
	Addresses []string          // virtual addresses (ClusterIPs), empty if headless
	CIDRs     []string          // networks that a ServiceEntry has as addresses
	Headless  bool              // its name means its pods' addresses
	Ports     []Port            // by Number
	Selector  map[string]string // of pods in Namespace; nil: none
	// AlsoSelects are the selectors of younger ServiceEntries that joined.
	AlsoSelects []map[string]string
	Labels      map[string]string
	Resolve     Resolution
	External    string // host to resolve for ResolveDNS; the target of an ExternalName
	ExportTo    Visibility
	// Balancer is what weft.mesh/load-balancer says for it, its namespace or the
	// mesh; a DestinationRule that says another wins.
	Balancer LBAlgorithm
	// HealthCheck is by weft.mesh/health-check; nil: none.
	HealthCheck *HealthCheck
	// Session is by the label istio.io/persistent-session or
	// istio.io/persistent-session-header; nil: none.
	Session *Session
	// MaxAge of a client's connection (weft.mesh/max-connection-age); 0: no limit.
	MaxAge time.Duration
	// Locality is what trafficDistribution asks for; nil: nothing.
	Locality *LocalityPolicy

	// Origin is the ServiceEntry that declares it, the oldest of several; empty
	// for a Service of Kubernetes. Rank orders those of one host.
	Origin Origin
	Rank   string
	// Rival: another namespace has the host too, and comes first. Proxies that
	// see only this one, or are in its namespace, use it.
	Rival bool
	// Contested: it is not a rival, but has some.
	Contested bool
	// Hidden, of one that is no rival: of those that ServiceEntries declare for the
	// host, the root namespace sees none, or several. Callee says why.
	Hidden bool
	// Seen is the namespace of the only one that it sees, where that is a rival.
	Seen string
	// Outside of the mesh (MESH_EXTERNAL): never the mesh's own mTLS.
	Outside bool
	// Allocated: its Addresses are made from its name.
	Allocated bool
	// SANs are further names that its servers may prove.
	SANs []string
	// AliasOf is the host that an ExternalName stands for, if the mesh has it;
	// such a service has no ports of its own.
	AliasOf string
	// Aliases are the hosts of ExternalNames that stand for this one, sorted.
	Aliases []string
}

// Selectors are those that name labels: its own, and those of ServiceEntries that
// joined.
func (s *Service) Selectors() (out []map[string]string) {
	if len(s.Selector) > 0 {
		out = append(out, s.Selector)
	}
	for _, also := range s.AlsoSelects {
		if len(also) > 0 {
			out = append(out, also)
		}
	}
	return out
}

// Selects reports whether a workload of the service's namespace, with these
// labels, is behind it. Selectors that name no label select nobody here.
func (s *Service) Selects(labels map[string]string) bool {
	chosen := func(selector map[string]string) bool { return len(selector) > 0 && Selects(selector, labels) }
	return chosen(s.Selector) || slices.ContainsFunc(s.AlsoSelects, chosen)
}

// Key is that of Mesh.Services and Mesh.Endpoints: the host, or, of a Rival,
// "host|namespace".
func (s *Service) Key() string {
	if s.Rival {
		return s.Host + "|" + s.Namespace
	}
	return s.Host
}

// Port is one port of a service.
type Port struct {
	Name     string
	Number   uint32
	Protocol Protocol
	// Target is the pod's port: a number, or 0 with TargetName for a named
	// container port.
	Target     uint32
	TargetName string
	// Elsewhere: a listener of the proxy's Sidecar is where it is reached, not
	// the service's addresses.
	Elsewhere bool
}

// Port returns the service's port with that number.
func (s *Service) Port(number uint32) (Port, bool) {
	for _, p := range s.Ports {
		if p.Number == number {
			return p, true
		}
	}
	return Port{}, false
}

// Endpoints are the addresses behind one service.
type Endpoints struct {
	Host string
	// Ports holds the endpoints of each service port, by number; within a
	// port by address. A port without endpoints may be absent.
	Ports []PortEndpoints
	// Identities are the SPIFFE URIs of all endpoints whose service account is
	// known, sorted, each once.
	Identities []string
}

// PortEndpoints are the endpoints of one port of a service.
type PortEndpoints struct {
	Port      uint32 // the service's port
	Endpoints []*Endpoint
}

// Of returns the endpoints of a service port; nil for a nil receiver.
func (e *Endpoints) Of(port uint32) []*Endpoint {
	if e == nil {
		return nil
	}
	for _, p := range e.Ports {
		if p.Port == port {
			return p.Endpoints
		}
	}
	return nil
}

// Health of an endpoint; the zero value is healthy.
type Health int

// Draining endpoints take no new requests but finish those they have.
const (
	Healthy Health = iota
	Unhealthy
	Draining
)

// Endpoint is one address and port behind a service.
type Endpoint struct {
	Address string // IP, a name for DNS, or "unix:///PATH"
	Port    uint32
	Health  Health
	MTLS    bool // its proxy terminates mesh mTLS
	// Proxyless: it is a gRPC server that speaks xDS. Such a one cannot tell
	// mTLS from plaintext, so that MTLS is true for it where it is STRICT.
	Proxyless bool
	Weight    uint32
	Locality  Locality
	Labels    map[string]string // of the pod: subsets select on them
	Identity  string            // SPIFFE URI, empty if unknown
	Node      string            // empty if unknown
	// Workload, for telemetry: names that the server's certificate attests too.
	Workload, Namespace, App, Version, Pod string
}
