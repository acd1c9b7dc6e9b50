package model

import "net/netip"

// BytesRoute is a route of connections whose bytes are passed on: one match of
// a tls or tcp route. The first that holds takes the connection.
// Source: istio.io/api networking/v1alpha3, messages TLSRoute and TCPRoute.
type BytesRoute struct {
	Origin Origin
	Scope  Scope
	// SNI are the server names, lower case, each exact or "*.DOMAIN"; nil: any,
	// and none at all.
	SNI []string
	// To and From are where the connection goes and comes from; nil: anywhere.
	To, From     []netip.Prefix
	Destinations []Destination // at least one
}
