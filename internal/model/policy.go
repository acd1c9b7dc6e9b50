package model

import "time"

// Policy is one compiled DestinationRule.
type Policy struct {
	Namespace, Name string
	Origin          Origin
	Rank            string // the lower wins where two claim one host
	Host            string // fully qualified or with a leading "*"
	ExportTo        Visibility
	Selector        map[string]string // workloadSelector; nil: all
	Traffic         PortTraffic
	Subsets         []Subset
}

// PortTraffic is a traffic policy with its overrides by port.
type PortTraffic struct {
	Traffic Traffic
	Ports   []PortOverride // by Port
	// Tunnel is for all ports; nil: none. A subset inherits none.
	Tunnel *Tunnel
}

// Tunnel sends bytes on within a request to the destination, which is a proxy.
// Source: Istio, TrafficPolicy.tunnel.
type Tunnel struct {
	Target string // "HOST:PORT", what the proxy is asked for
	Post   bool   // by POST, else CONNECT
}

// Empty reports whether p says nothing.
func (p *PortTraffic) Empty() bool {
	return p.Traffic == (Traffic{}) && len(p.Ports) == 0 && p.Tunnel == nil
}

// OpensTLS reports whether p says that clients open TLS to a port.
func (p *PortTraffic) OpensTLS(port uint32) bool {
	opened := p.Traffic.TLS
	for i := range p.Ports {
		if p.Ports[i].Port == port {
			opened = p.Ports[i].Traffic.TLS
		}
	}
	return opened != nil && opened.Mode != TLSDisable
}

// PortOverride replaces the whole traffic policy for one port.
type PortOverride struct {
	Port    uint32
	Traffic Traffic
}

// Subset is a named part of a service's endpoints.
type Subset struct {
	Name   string
	Labels map[string]string
	PortTraffic
}

// Traffic says how requests are sent to a service. A nil part is the default.
type Traffic struct {
	LB            *LoadBalancer
	Pool          *ConnectionPool
	Outlier       *OutlierDetection
	TLS           *ClientTLS
	ProxyProtocol *ProxyProtocol
	RetryBudget   *RetryBudget
}

// Merge returns over's parts where it has them, else t's: how a subset
// inherits from its DestinationRule.
func (t Traffic) Merge(over Traffic) Traffic {
	if over.LB != nil {
		t.LB = over.LB
	}
	if over.Pool != nil {
		t.Pool = over.Pool
	}
	if over.Outlier != nil {
		t.Outlier = over.Outlier
	}
	if over.TLS != nil {
		t.TLS = over.TLS
	}
	if over.ProxyProtocol != nil {
		t.ProxyProtocol = over.ProxyProtocol
	}
	if over.RetryBudget != nil {
		t.RetryBudget = over.RetryBudget
	}
	return t
}

// Whole returns t with those parts of all that a port cannot set for itself.
func (t Traffic) Whole(all Traffic) Traffic {
	if t.ProxyProtocol == nil {
		t.ProxyProtocol = all.ProxyProtocol
	}
	if t.RetryBudget == nil {
		t.RetryBudget = all.RetryBudget
	}
	return t
}

// For returns what holds for a port: the port's own settings replace the
// others wholly, as Istio documents for portLevelSettings.
func (p PortTraffic) For(port uint32) (t Traffic, override bool) {
	for _, o := range p.Ports {
		if o.Port == port {
			return o.Traffic, true
		}
	}
	return p.Traffic, false
}

// LBAlgorithm chooses an endpoint.
type LBAlgorithm int

// The zero value leaves it to the service, its namespace and the mesh; where
// they say nothing it is LEAST_REQUEST, as in Istio.
const (
	LBDefault LBAlgorithm = iota
	LBLeastRequest
	LBRoundRobin
	LBRandom
	LBPassthrough
	LBHash
	// LBLatency prefers endpoints that answer fast and without errors, as their
	// own proxies report it (decision 019).
	LBLatency
)

// String gives the name as in a DestinationRule or in weft.mesh/load-balancer;
// "" for the default.
func (a LBAlgorithm) String() string {
	return [...]string{"", "LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH", "CONSISTENT_HASH", "LATENCY_AWARE"}[a]
}

// LoadBalancer of a destination.
type LoadBalancer struct {
	Algorithm LBAlgorithm
	Hash      *ConsistentHash // with LBHash
	Warmup    *Warmup
	// Locality is the rule's own setting; nil: the service's, else the mesh's.
	Locality *LocalityPolicy
}

// ConsistentHash picks an endpoint by a property of the request. One of
// Header, Cookie, Query, SourceIP is set.
type ConsistentHash struct {
	Header, Query string
	Cookie        *Cookie
	SourceIP      bool
	Maglev        bool
	TableSize     uint64 // of maglev, 0: default
	MinRingSize   uint64 // of ring hash, 0: default 1024
}

// Cookie of a consistent hash. A nil TTL makes no cookie; 0 a session cookie.
type Cookie struct {
	Name, Path string
	TTL        *time.Duration
	Attributes []Header
}

// Warmup gives a new endpoint its share slowly.
type Warmup struct {
	Duration   time.Duration
	MinPercent float64 // 0..100, default 10
	Aggression float64 // default 1
}

// ConnectionPool limits; 0 is Envoy's or Istio's default as documented at the
// translation.
type ConnectionPool struct {
	MaxConnections        uint32
	ConnectTimeout        time.Duration
	KeepaliveProbes       uint32
	KeepaliveTime         time.Duration
	KeepaliveInterval     time.Duration
	Keepalive             bool
	TCPIdleTimeout        time.Duration
	MaxConnectionDuration time.Duration

	MaxPendingRequests    uint32
	MaxRequests           uint32
	MaxRequestsPerConn    uint32
	MaxRetries            uint32
	HTTPIdleTimeout       time.Duration
	MaxConcurrentStreams  uint32
	H2Upgrade             H2Upgrade
	UseClientProtocol     bool
	HTTP2KeepaliveTime    time.Duration
	HTTP2KeepaliveTimeout time.Duration
}

// H2Upgrade says whether HTTP/1.1 is sent on as HTTP/2.
type H2Upgrade int

// The zero value leaves it to the port's protocol.
const (
	H2Default H2Upgrade = iota
	H2Always
	H2Never
)

// OutlierDetection ejects endpoints that fail. Zero counts are off, as Istio
// documents each field.
type OutlierDetection struct {
	Consecutive5xx     *uint32
	ConsecutiveGateway *uint32
	ConsecutiveLocal   *uint32
	SplitLocal         bool
	Interval           time.Duration
	BaseEjection       time.Duration
	MaxEjectionPercent *uint32
	MinHealthPercent   uint32
	// Codes are the statuses that count as errors, sorted, each once; empty: 5xx.
	Codes []uint32
}

// ProxyProtocol tells the destination by a header of HAProxy's PROXY protocol
// who connects.
type ProxyProtocol struct{ V2 bool }

// RetryBudget bounds how many retries are on their way at once.
// Source: Istio, TrafficPolicy.retryBudget.
type RetryBudget struct {
	Percent  float64       // of the requests that are on their way, 0..100
	Least    uint32        // so many always
	Interval time.Duration // also those that began within it; 0: none
}

// TLSMode of a client's connection to a destination.
type TLSMode int

// The zero value is plaintext.
const (
	TLSDisable TLSMode = iota
	TLSSimple
	TLSMutual
	TLSMesh // ISTIO_MUTUAL
)

// ClientTLS is how a client opens TLS to a destination.
type ClientTLS struct {
	Mode               TLSMode
	Cert, Key, CA, CRL string // files, for TLSMutual and TLSSimple
	// Credential is a Secret's name; "namespace/name" in a View.
	Credential string
	// Lacking: a certificate that the rule asks for is not there for the proxy,
	// so that every connection must fail.
	Lacking            bool
	SNI                string
	SANs               []string
	InsecureSkipVerify bool
}

// MTLSMode of a server.
type MTLSMode int

// The zero value is permissive, Istio's default.
const (
	MTLSPermissive MTLSMode = iota
	MTLSStrict
	MTLSDisable
)

// String gives the name as in a PeerAuthentication.
func (m MTLSMode) String() string { return [...]string{"PERMISSIVE", "STRICT", "DISABLE"}[m] }

// PeerAuth is one compiled PeerAuthentication.
type PeerAuth struct {
	Namespace, Name string
	Origin          Origin
	Rank            string
	Selector        map[string]string // nil: the whole namespace (or mesh)
	Mode            *MTLSMode         // nil: inherit
	Ports           map[uint32]MTLSMode
	// Unset ports (mode UNSET) inherit and are absent from Ports.
}
