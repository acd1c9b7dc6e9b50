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
}
