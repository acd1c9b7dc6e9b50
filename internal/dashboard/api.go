package dashboard

import (
	"time"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/figures"
)

// Now is GET /api/now?window=SECONDS: what the proxies counted in the last
// SECONDS (default 30, at most 3600; less where the dashboard has not looked for
// so long). web/src/api.ts says the same in TypeScript.
type Now struct {
	Mesh      Mesh           `json:"mesh"`
	At        time.Time      `json:"at"`               // of the newest look that succeeded; the zero time before the first
	Seconds   float64        `json:"windowSeconds"`    // that the rates are of; 0: nothing was counted yet
	Failed    string         `json:"failed,omitempty"` // why the newest look failed; the figures are of At all the same
	Missing   []string       `json:"unanswered"`       // pods that did not answer, and why
	Inventory []Pod          `json:"inventory"`        // all pods that run, also those without a proxy
	Workloads []figures.Row  `json:"workloads"`
	Pods      []figures.Row  `json:"pods"`
	Services  []figures.Row  `json:"services"`
	Routes    []figures.Row  `json:"routes"` // where the calls of a service went: workload and version
	Edges     []figures.Edge `json:"edges"`
	Callers   []figures.Edge `json:"callers"` // of services, by the name that they called
	Ejected   []Ejection     `json:"ejected"`
	Overflows []Overflow     `json:"overflows"`
}

// Mesh is what is looked at.
type Mesh struct {
	Name  string `json:"name"`  // as a person calls it
	Local bool   `json:"local"` // on this machine, else a cluster
}

// Pod is one pod of the mesh.
type Pod struct {
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Workload  string        `json:"workload"` // "": a pod of its own
	App       string        `json:"app,omitempty"`
	Version   string        `json:"version,omitempty"`
	Address   string        `json:"address"`
	Proxy     string        `json:"proxy"`  // sidecar, gateway, proxyless; "": none
	Synced    string        `json:"synced"` // yes, no; "-": not known; "": no proxy
	Ready     bool          `json:"ready"`
	Phase     string        `json:"phase"`
	Restarts  int           `json:"restarts"`
	Age       time.Duration `json:"ageNanoseconds"`
	Control   bool          `json:"controlPlane,omitempty"` // a part of Weft itself, which needs no proxy
}

// Ejection is a host that some proxies leave out.
type Ejection struct {
	Service string    `json:"service"` // its host
	Port    string    `json:"port"`
	Subset  string    `json:"subset,omitempty"`
	Pod     string    `json:"pod,omitempty"` // NAMESPACE/NAME
	Address string    `json:"address"`
	Since   time.Time `json:"since"` // the earliest that agents say; where none does, when this dashboard first saw it
	By      []Ejector `json:"by"`
}

// Ejector is a proxy that leaves a host out, and what it has counted of it.
type Ejector struct {
	Pod      string    `json:"pod"`              // NAMESPACE/NAME
	Reason   string    `json:"reason,omitempty"` // an event of Envoy's outlier detection, as consecutive_5xx
	Since    time.Time `json:"since,omitzero"`
	Requests uint64    `json:"requests"`
	Failed   uint64    `json:"failedRequests"`
	Refused  uint64    `json:"failedConnections"`
}

// Overflow is a limit of a circuit breaker that a caller met since its agent
// started.
type Overflow struct {
	Service  string    `json:"service"` // its host
	Port     string    `json:"port"`
	Subset   string    `json:"subset,omitempty"`
	Caller   string    `json:"caller"`            // NAMESPACE/POD
	Workload string    `json:"workload"`          // the caller's, "" of a pod of its own
	Limit    string    `json:"limit"`             // connections, pending_requests, requests, retries
	Allowed  float64   `json:"allowed,omitempty"` // 0: not known
	Times    float64   `json:"times"`
	Since    time.Time `json:"since,omitzero"`  // it is met; zero: not in the last minute
	Field    string    `json:"field,omitempty"` // of a DestinationRule's trafficPolicy that says it
}

// History is GET /api/history?kind=KIND&namespace=NAMESPACE&name=NAME: how a row
// of workloads, pods or services went, for up to an hour, oldest first. One that
// nobody knows has no points.
type History struct {
	StepSeconds float64 `json:"stepSeconds"` // between two points, where none is missing
	Points      []Point `json:"points"`
	// From is "recorder" where a Prometheus says it, else "agents"; then Failed is why
	// the Prometheus that there is did not.
	From   string `json:"from"`
	By     string `json:"by,omitempty"` // that Prometheus: NAMESPACE/POD, or its address
	Failed string `json:"failed,omitempty"`
}

// Point is what was counted in the step that ended at At. What is not known is
// null.
type Point struct {
	At       time.Time `json:"at"`
	Rate     *float64  `json:"requestsPerSecond"`
	Success  *float64  `json:"successRate"` // 0..1
	P50      *float64  `json:"p50"`         // milliseconds
	P95      *float64  `json:"p95"`
	P99      *float64  `json:"p99"`
	Received *float64  `json:"receivedBytesPerSecond"`
	Sent     *float64  `json:"sentBytesPerSecond"`
	TCP      *float64  `json:"connectionsPerSecond"`
}

// Config is GET /api/config: the mesh's objects, and what holds of them.
type Config struct {
	At      time.Time `json:"at"`
	Failed  string    `json:"failed,omitempty"` // why it could not be read anew
	Objects []Object  `json:"objects"`
	Splits  []Split   `json:"splits"`
}

// Object is one object of Istio's API.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Accepted  bool   `json:"accepted"` // no error is found in it
	// Programmed: live, pending, refused, none (no connected proxy needs it).
	Programmed string            `json:"programmed"`
	Proxies    int               `json:"proxies"` // that need something of it
	Live       int               `json:"live"`    // that have all of it
	Findings   []diag.Diagnostic `json:"findings"`
}

// Split is a route of a VirtualService with several destinations: what a canary
// is made of.
type Split struct {
	Namespace    string        `json:"namespace"` // of the VirtualService
	Name         string        `json:"name"`
	Hosts        []string      `json:"hosts"`
	Gateways     []string      `json:"gateways"` // mesh, or NAMESPACE/NAME
	Protocol     string        `json:"protocol"` // http, tls, tcp
	Route        string        `json:"route"`    // its name, or "1", "2", ... in the order of the object
	Destinations []Destination `json:"destinations"`
}

// Destination is one of a split.
type Destination struct {
	Host      string   `json:"host"`
	Service   string   `json:"service"`   // short name of the service, as rows of routes have it; a host of no Service
	Namespace string   `json:"namespace"` // of the service; "unknown" of no Service
	Subset    string   `json:"subset,omitempty"`
	Share     float64  `json:"share"`     // that the object asks for, 0..1
	Workloads []string `json:"workloads"` // of the service's namespace, that calls to it go to
}
