// Package tap says what a live request looks like on its way from an agent to who
// watches, and which requests a viewer wants.
//
// Inputs: a viewer's query. Outputs: Entry values, one JSON object a line. It
// imports the standard library alone: the agent is in every pod.
package tap

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Path is the agent's page, on its status port and for loopback alone.
const Path = "tap"

// Directions of an entry, as the proxy that tells it sees them.
const (
	Inbound  = "inbound"
	Outbound = "outbound"
)

// Events of an entry. A request is told when it ended, a connection twice.
const (
	Request = "request"
	Opened  = "opened" // a connection reached its other side
	Closed  = "closed"
)

// Entry is one request, or one event of a TCP connection. Texts that a caller
// chose are as the caller sent them but for their length: who shows them escapes
// them. Empty fields are not known, or mean nothing here.
type Entry struct {
	Time      time.Time `json:"time"` // when it began
	Direction string    `json:"direction"`
	Event     string    `json:"event"`
	From      Peer      `json:"from"`
	To        Peer      `json:"to"`
	Protocol  string    `json:"protocol"` // HTTP/1.0, HTTP/1.1, HTTP/2, HTTP/3, TCP
	Method    string    `json:"method,omitempty"`
	Authority string    `json:"authority,omitempty"`
	Path      string    `json:"path,omitempty"`
	Status    uint32    `json:"status,omitempty"`
	GRPC      string    `json:"grpcStatus,omitempty"` // "OK", "Unavailable" ...
	Flags     string    `json:"flags,omitempty"`      // Envoy's response flags
	Details   string    `json:"details,omitempty"`    // who answered, or why a connection ended
	Denied    string    `json:"deniedBy,omitempty"`   // NAMESPACE/NAME of an AuthorizationPolicy
	Route     string    `json:"route,omitempty"`
	Cluster   string    `json:"cluster,omitempty"` // Envoy's, that was chosen
	Attempts  uint32    `json:"attempts,omitempty"`
	Millis    float64   `json:"durationMs"`
	Received  uint64    `json:"receivedBytes"` // of bodies, or of a connection so far
	Sent      uint64    `json:"sentBytes"`
	RequestID string    `json:"requestId,omitempty"`
	TraceID   string    `json:"traceId,omitempty"`
	// Dropped are the entries just before this one that the viewer was too slow
	// for.
	Dropped uint64 `json:"dropped,omitempty"`
}

// Peer is one end. Of the proxy's own end an agent knows the workload, of another
// what its certificate or the pilot says.
type Peer struct {
	Namespace string `json:"namespace,omitempty"`
	Workload  string `json:"workload,omitempty"`
	Pod       string `json:"pod,omitempty"`       // NAME, where it is known
	Principal string `json:"principal,omitempty"` // that mutual TLS proved
	Address   string `json:"address,omitempty"`   // IP:PORT
}

// Filter is what a viewer wants; the zero value everything.
type Filter struct {
	Path   string   // how it begins
	Method string   // "GET"; "": any
	Status []string // each a code, a class as "5xx", or a status of gRPC by its name; none: any
}

// Query is f as the agent's page takes it.
func (f Filter) Query() string {
	q := url.Values{}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	set("path", f.Path)
	set("method", f.Method)
	set("status", strings.Join(f.Status, ","))
	return q.Encode()
}

// Parse is the inverse of Query. The error says what a status may be.
func Parse(q url.Values) (Filter, error) {
	f := Filter{Path: q.Get("path"), Method: strings.ToUpper(q.Get("method"))}
	for s := range strings.SplitSeq(q.Get("status"), ",") {
		if s = strings.TrimSpace(s); s != "" {
			f.Status = append(f.Status, s)
		}
	}
	return f, f.Validate()
}

// Validate says what a status may be where one is something else.
func (f Filter) Validate() error {
	for _, s := range f.Status {
		if _, class := classOf(s); class || isCode(s) || strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz") == "" {
			continue
		}
		return fmt.Errorf("status %q: it is a code as 503, a class as 5xx, or a status of gRPC as Unavailable", s)
	}
	return nil
}

// Match reports whether f wants e. TCP has no path, method or status.
func (f Filter) Match(e *Entry) bool {
	return strings.HasPrefix(e.Path, f.Path) && (f.Method == "" || strings.EqualFold(e.Method, f.Method)) && f.wantsStatus(e)
}

func (f Filter) wantsStatus(e *Entry) bool {
	for _, s := range f.Status {
		class, isClass := classOf(s)
		switch {
		case isClass && e.Status/100 == class, isCode(s) && s == strconv.FormatUint(uint64(e.Status), 10), strings.EqualFold(s, cmp.Or(e.GRPC, "-")):
			return true
		}
	}
	return len(f.Status) == 0
}

// classOf reads "5xx".
func classOf(s string) (uint32, bool) {
	if len(s) != 3 || !strings.EqualFold(s[1:], "xx") || s[0] < '1' || s[0] > '5' {
		return 0, false
	}
	return uint32(s[0] - '0'), true
}

func isCode(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && (n == 0 || n >= 100 && n < 600)
}
