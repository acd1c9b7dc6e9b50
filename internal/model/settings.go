package model

import "time"

// TLSBounds narrow the TLS that proxies speak. The zero value leaves all to the
// defaults: TLS 1.2 and Envoy's cipher suites and curves.
type TLSBounds struct {
	MinVersion string   // "", "1.2", "1.3"
	Ciphers    []string // of TLS 1.2, by OpenSSL's names
	Curves     []string // by Envoy's names: "P-256"
}

// Paths says how the paths of requests are normalised.
type Paths int

// The zero value removes dot segments as of RFC 3986, Istio's default.
const (
	PathsBase   Paths = iota
	PathsNone         // as they came
	PathsMerge        // and merges slashes
	PathsDecode       // and decodes slashes before
)

// Keepalive are the system's probes of a silent TCP connection; 0 is the
// system's default.
type Keepalive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// TrafficDefaults are MeshConfig's settings that hold where no other object
// says anything.
type TrafficDefaults struct {
	// Traffic is defaultTrafficPolicy: its Pool and Outlier, each where a
	// DestinationRule has none.
	Traffic Traffic
	// Keepalive is tcpKeepalive; nil: none.
	Keepalive *Keepalive
	// H2Upgrade sends requests for ports of HTTP/1.1 on as HTTP/2.
	H2Upgrade bool
	// Paths is pathNormalization.
	Paths Paths
	// MeshTLS bounds mesh mTLS, TLS all other.
	MeshTLS, TLS TLSBounds
	// InboundLocalhost has the app called at 127.0.0.1, not at the pod's address.
	InboundLocalhost bool
	// OutboundStat and InboundStat are patterns of names under which clusters are
	// counted, "%SERVICE%_%SERVICE_PORT%"; empty: their own.
	OutboundStat, InboundStat string
}
