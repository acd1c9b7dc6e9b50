package model

import "time"

// VirtualService is one compiled VirtualService. Only routes that can be
// honoured are in it.
type VirtualService struct {
	Namespace, Name string
	Origin          Origin
	// Rank orders VirtualServices that claim one host: the lower wins (older
	// first, then by key).
	Rank     string
	Hosts    []string // fully qualified, lower case, or with a leading "*"
	Gateways []string // "mesh" and "namespace/name"; never empty
	ExportTo Visibility
	HTTP     []*Route // in order; one Match each
	// TLS routes connections by the server name they ask for, TCP others; both
	// in order.
	TLS, TCP []*BytesRoute
}

// Route is one HTTP route: the first whose Match holds is taken.
type Route struct {
	Name     string
	Origin   Origin
	Scope    Scope
	Match    Match
	Action   Action
	Request  HeaderOps
	Response HeaderOps
	Fault    *Fault
	CORS     *CORS
	// StatPrefix names statistics of the route's own in Envoy; empty: none.
	StatPrefix string
}

// Scope limits a route to some proxies and ports; it is resolved when the
// route is put into a View. The zero Scope is everywhere.
type Scope struct {
	Gateways        []string // nil: all of the VirtualService's
	Port            uint32   // 0: any
	SourceLabels    map[string]string
	SourceNamespace string
}

// Match holds if all its parts do; the zero Match is every request.
type Match struct {
	Path      *StringMatch // without the query
	Scheme    *StringMatch
	Method    *StringMatch
	Authority *StringMatch
	Headers   []HeaderMatch
	Query     []QueryMatch
	Claims    []ClaimMatch // at gateways alone
}

// OnlyPath reports whether nothing but a request's path is asked for.
func (m Match) OnlyPath() bool {
	return m.Scheme == nil && m.Method == nil && m.Authority == nil && len(m.Headers)+len(m.Query)+len(m.Claims) == 0
}

// MatchKind says how a StringMatch compares.
type MatchKind int

// The zero value compares the whole string.
const (
	MatchExact MatchKind = iota
	MatchPrefix
	MatchSuffix
	MatchRegex   // RE2, of the whole string
	MatchPresent // any value; Value is unused
)

// StringMatch compares one string.
type StringMatch struct {
	Kind       MatchKind
	Value      string
	IgnoreCase bool // not with MatchRegex
}

// HeaderMatch compares a request header; Not inverts it, where an absent
// header counts as different.
type HeaderMatch struct {
	Name string // lower case
	StringMatch
	Not bool
}

// ClaimMatch compares a claim of the request's token, or one of its elements if
// it is a list of texts; Not inverts it, where no token, or none with such a
// claim, counts as different.
type ClaimMatch struct {
	Path []string // at least one key; nested ones follow
	StringMatch
	Not bool
}

// QueryMatch compares a query parameter.
type QueryMatch struct {
	Name string
	StringMatch
}

// Action is what a route does: *Forward, *Redirect or *DirectResponse.
type Action interface{ action() }

// Forward sends the request to a destination.
type Forward struct {
	Destinations []Destination // at least one
	Rewrite      *Rewrite
	Timeout      time.Duration // 0: none
	Retry        *Retry        // nil: no retries
	Mirrors      []Mirror
}

// Destination is a weighted target of a route.
type Destination struct {
	Host   string
	Subset string
	Port   uint32 // 0: the port of the table in which the route stands
	Weight uint32 // of the sum; 0 is never taken unless it is the only one
	// Request and Response header changes of this destination alone. A header
	// to set that is named ":authority" replaces the request's host.
	Request, Response HeaderOps
	// Cluster is the Envoy cluster's name, set in a View.
	Cluster string
	// Hash is the destination's consistent hash, set in a View.
	Hash *ConsistentHash
	// Session is the destination's; nil: none. Set in a View.
	Session *Session
	// Reports: its proxies report latency in their answers, which is not for the
	// caller; set in a View.
	Reports bool
}

// Mirror sends a copy of the request, the answer is dropped.
type Mirror struct {
	Destination
	PPM uint32 // parts per million of the requests
}

// Rewrite changes the request before it is sent.
type Rewrite struct {
	Path      string // replaces what the path matched (the prefix, or the whole path)
	Authority string
	// Regex and Substitution replace within the path (uriRegexRewrite).
	Regex, Substitution string
}

// Retry repeats a failed request.
type Retry struct {
	Attempts        uint32 // beyond the first; at least 1
	PerTry          time.Duration
	On              string   // Envoy's retry_on, comma-separated
	Codes           []uint32 // further status codes to retry on
	RemoteLocality  bool
	PreviousHosts   bool // may retry the same host (default is another)
	Backoff         time.Duration
	PriorityAttempt uint32
}

// Redirect answers with a redirect. RequestPort means the port of the table in
// which the route stands.
type Redirect struct {
	Path       string // replaces the whole path; empty: unchanged
	Prefix     string // replaces the matched prefix; empty: unchanged
	Authority  string
	Port       uint32 // 0: unchanged
	DerivePort bool   // the protocol's default port
	// RequestPort keeps the port of the table in which the route stands.
	RequestPort bool
	Scheme      string
	Code        uint32 // 301, 302, 303, 307, 308
}

// DirectResponse answers by itself.
type DirectResponse struct {
	Status uint32 // 200..599
	Body   []byte // nil: none
}

func (*Forward) action()        {}
func (*Redirect) action()       {}
func (*DirectResponse) action() {}

// HeaderOps change headers, in the order remove, set, add as Istio does.
type HeaderOps struct {
	Set    []Header // replaces; by name
	Add    []Header // appends; by name
	Remove []string // sorted
}

// None reports whether nothing is changed.
func (o HeaderOps) None() bool { return len(o.Set)+len(o.Add)+len(o.Remove) == 0 }

// Header is a name and value.
type Header struct{ Name, Value string }

// Fault delays or aborts a part of the requests.
type Fault struct {
	Delay       time.Duration
	DelayPPM    uint32 // parts per million; 0: no delay
	AbortStatus uint32 // HTTP status, 200..599; 0 if GRPC
	AbortGRPC   uint32 // gRPC status code, if AbortStatus is 0
	AbortPPM    uint32 // 0: no abort
}

// CORS is a cross-origin policy.
type CORS struct {
	Origins            []StringMatch
	Methods            []string
	Headers            []string
	Expose             []string
	MaxAge             time.Duration
	Credentials        *bool
	UnmatchedForward   bool // unmatched preflights are forwarded (default), else answered
	UnmatchedPreflight bool // it was set at all
}
