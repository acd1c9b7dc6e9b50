package model

import "strings"

// Sidecar is one compiled Sidecar: what the proxies that it is for see of the
// mesh, and what they take.
// Source: istio.io/api networking/v1alpha3, message Sidecar.
type Sidecar struct {
	Namespace, Name string
	Origin          Origin
	Rank            string            // the lower wins where two are for one workload
	Selector        map[string]string // of workloads in Namespace; nil: all
	// Egress says what is seen; none: everything that is exported.
	Egress []EgressListener
	// Ingress are the only ports that are taken as services'; none: those that
	// services target.
	Ingress []IngressListener
	// InboundPool bounds connections to the app; nil: the DestinationRule's.
	InboundPool *ConnectionPool
	// Unknown says what happens to unknown destinations; nil: as in the mesh.
	Unknown *UnknownPolicy
}

// Key is "namespace/name".
func (s *Sidecar) Key() string { return s.Namespace + "/" + s.Name }

// Reach says how much of the mesh a class's Sidecar lets it see.
type Reach string

// The zero value is everything that is exported to it.
const (
	ReachAll Reach = ""
	// ReachNarrow: no more than some namespaces, or hosts, that it names.
	ReachNarrow Reach = "narrow"
	// ReachWide: a part of all namespaces.
	ReachWide Reach = "wide"
)

// Reach is that of the sidecars that s is for; s may be nil.
func (s *Sidecar) Reach() Reach {
	if s == nil || len(s.Egress) == 0 {
		return ReachAll
	}
	all, wide := true, false
	for i := range s.Egress {
		l := &s.Egress[i]
		all = all && l.Port == 0 && !l.Bound && l.everything()
		for _, h := range l.Hosts {
			wide = wide || h.Namespace == anyNamespace && strings.HasPrefix(h.Host, "*")
		}
	}
	switch {
	case all:
		return ReachAll
	case wide:
		return ReachWide
	}
	return ReachNarrow
}

const anyNamespace = "*"

// EgressListener is a part of what a Sidecar lets through.
type EgressListener struct {
	Port     uint32 // 0: those of the hosts
	Protocol Protocol
	// Bind is the one address, or "unix:///path", that is listened on; empty:
	// all that the hosts have.
	Bind string
	// Bound: the app connects to Bind itself, nothing is captured.
	Bound bool
	Hosts []ScopeHost // at least one is not excluded, or nothing is seen
}

// ScopeHost is "namespace/host" of a Sidecar's egress.
type ScopeHost struct {
	Namespace string // "*" is any, "." the proxy's own
	Host      string // lower case; "*" is any, "*.example.com" those below
	Excluded  bool   // what it stands for is not seen
}

// everything reports whether nothing is left out.
func (l *EgressListener) everything() bool {
	whole := false
	for _, h := range l.Hosts {
		if h.Excluded {
			return false
		}
		whole = whole || h.Namespace == anyNamespace && h.Host == "*"
	}
	return whole
}

// IngressListener is a port that the proxy takes connections on.
type IngressListener struct {
	Port     uint32
	Protocol Protocol
	Bind     string // address on which the proxy listens itself; empty: captured
	// Local is where the app listens: "127.0.0.1", "::1", "unix:///path", or
	// empty for the pod's own address. LocalPort is its port, 0 with a path.
	Local     string
	LocalPort uint32
	TLS       *ServerTLS      // of callers from outside the mesh; nil: none
	Pool      *ConnectionPool // nil: the Sidecar's
}

// AskedUnknown is how unknown hosts are called that DNS is asked for.
// Source: MeshConfig.OutboundTrafficPolicy, mode ALLOW_ANY_DYNAMIC_DNS.
type AskedUnknown struct {
	TLS *ClientTLS // nil: in clear text
}

// AskedCluster is the cluster of unknown hosts that DNS is asked for.
const AskedCluster = "AllowAnyDynamicDNSCluster"

// UnknownPolicy is what happens to destinations that are not known.
type UnknownPolicy struct {
	AllowAny bool // they pass; else they are refused
	// Proxy is where they are sent, with AllowAny; nil: where they asked for.
	Proxy *Destination
}
