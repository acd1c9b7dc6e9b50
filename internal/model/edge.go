package model

// Edge says what gateways believe of whom a connection comes from. The zero
// value believes nobody but the connection itself.
// Source: istio.io/api mesh/v1alpha1, message Topology.
type Edge struct {
	// TrustedProxies is how many proxies stand before a gateway: the client is
	// that many addresses from the right of X-Forwarded-For. 0 is the
	// connection's other end.
	TrustedProxies uint32
	// ProxyProtocol: each connection begins with a PROXY header, version 1 or 2,
	// and one without is closed.
	ProxyProtocol bool
	// ClientCert is what becomes of X-Forwarded-Client-Cert.
	ClientCert ForwardClientCert
	// Underscores is what becomes of headers that have one in their name.
	Underscores Underscores
}

// Underscores is what a gateway does with a request that has a header whose name
// holds an underscore: apps that take "_" for "-", as CGI does, would take
// "x_forwarded_for" for the header that gateways vouch for.
type Underscores int

// The zero value refuses, as Envoy's guide for proxies at the edge wants it.
const (
	UnderscoresReject Underscores = iota
	UnderscoresDrop               // the header
	UnderscoresAllow
)

// String gives the name as the setting has it.
func (u Underscores) String() string { return [...]string{"REJECT", "DROP", "ALLOW"}[u] }
