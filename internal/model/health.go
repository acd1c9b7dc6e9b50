package model

import "time"

// CheckKind is what an active health check speaks.
type CheckKind int

// The zero value is HTTP.
const (
	CheckHTTP CheckKind = iota
	CheckGRPC
	CheckTCP
)

// HealthCheck is how each client's proxy asks each endpoint whether it is
// well (weft.mesh/health-check).
type HealthCheck struct {
	Kind               CheckKind
	Path               string // of CheckHTTP
	Service            string // of CheckGRPC; empty: the server as a whole
	Interval, Timeout  time.Duration
	Healthy, Unhealthy uint32 // answers in a row that turn it
}
