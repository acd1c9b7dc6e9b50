package golden

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// Call is one entry of calls.yaml.
type Call struct {
	Name string `json:"name"` // for messages; may be empty

	// Host is the Host header, and the name whose address is dialled; it may
	// have a port. Port is the port that is dialled: by default that of Host,
	// else 80 (443 with tls).
	Host string `json:"host"`
	Port uint16 `json:"port"`
	// To overrides the address and port that are dialled.
	To string `json:"to"`
	// From is the client's address, with or without a port.
	From string `json:"from"`
	// Listener that gets the connection, by name; the default is the
	// Resolver's.
	Listener string `json:"listener"`
	// TLS is how the client speaks, if not plaintext.
	TLS *struct {
		SNI      string   `json:"sni"`
		ALPN     []string `json:"alpn"`
		Identity string   `json:"identity"` // URI, or DNS name, in the client's certificate
		Version  string   `json:"version"`  // the only one: "1.2" or "1.3"
		Ciphers  []string `json:"ciphers"`  // the only ones of TLS 1.2, by OpenSSL's names
		Curves   []string `json:"curves"`   // the only ones, by Envoy's names
		Stranger bool     `json:"stranger"` // another CA has signed the client's certificate
		Revoked  bool     `json:"revoked"`  // its CA has revoked it
	} `json:"tls"`
	TCP     bool              `json:"tcp"`
	HTTP2   bool              `json:"http2"`
	HTTP10  bool              `json:"http10"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]Values `json:"headers"`
	Body    string            `json:"body"`
	// Authorizers are how external authorizers answer, by their clusters.
	Authorizers map[string]Authorizer `json:"authorizers"`
	// Answer is how the endpoint answers; by default 200 at once.
	Answer struct {
		Status   int    `json:"status"`
		Delay    string `json:"delay"`
		Failures int    `json:"failures"`
		// Only is the one endpoint that answers so; the others answer 200.
		Only string `json:"only"`
		// Refuse takes no connection, in place of an answer.
		Refuse bool `json:"refuse"`
		// Mute says nothing more once it has answered, not even to a ping.
		Mute bool `json:"mute"`
		// Hang never answers a TLS handshake.
		Hang bool `json:"hang"`
		// Public shows a certificate of a public CA, not of the mesh's.
		Public bool `json:"public"`
		// Identity is the name in its certificate; by default what is asked for.
		Identity string `json:"identity"`
		// Revoked: its certificate is on the list of its CA.
		Revoked bool `json:"revoked"`
		// Demands a certificate of the proxy's.
		Demands bool `json:"demands"`
		// Report: it reports its load in a header.
		Report bool `json:"report"`
	} `json:"answer"`
	// Abandon has the client go away once an endpoint has its request.
	Abandon bool `json:"abandon"`
	// Times is how often the call is made, one after another, where the same
	// must come of all; 0 is once. "{n}" in Headers, Path and From is the number
	// of the call, from 0.
	Times int `json:"times"`
	// AtOnce is how many calls are made at once; see Want.Counts.
	AtOnce int `json:"atOnce"`
	// Samples is how often the call is made when chance decides its outcome;
	// 0 is 300.
	Samples int `json:"samples"`

	Want Want `json:"want"`
}

// Values are the values of a header: a string, or a list of them.
type Values []string

// UnmarshalJSON takes a string or a list.
func (v *Values) UnmarshalJSON(b []byte) error {
	var one string
	if yaml.Unmarshal(b, &one) == nil {
		*v = Values{one}
		return nil
	}
	var many []string
	if err := yaml.Unmarshal(b, &many); err != nil {
		return err
	}
	*v = many
	return nil
}

// Want is what must come of a call. Only what is written is checked, but
// simulator and Envoy must agree on all of it.
//
// Values of headers, body, host and path that begin with "~" are regular
// expressions, which must match the whole; a header that is null must be
// absent.
type Want struct {
	Closed bool `json:"closed"` // the connection ends without an answer
	Status int  `json:"status"`
	// Flags are the response flags that Envoy logs, "UF,URX", or "-" for none;
	// with AtOnce, of the calls that the proxy answers itself.
	Flags    string             `json:"flags"`
	Body     *string            `json:"body"`
	Headers  map[string]*string `json:"headers"` // of the answer
	Cluster  string             `json:"cluster"`
	Clusters map[string]float64 `json:"clusters"` // percent of each, where chance decides
	// Statuses is the percent of each status, where chance decides.
	Statuses  map[int]float64 `json:"statuses"`
	Endpoints []string        `json:"endpoints"` // all that may get it, in any order

	Host           *string            `json:"host"` // as the endpoint sees it, and so the next three
	Path           *string            `json:"path"`
	Method         string             `json:"method"`
	RequestHeaders map[string]*string `json:"requestHeaders"`
	TLS            *bool              `json:"tls"` // towards the endpoint
	SNI            *string            `json:"sni"`
	ClientCert     *bool              `json:"clientCert"` // the proxy shows the endpoint one
	Tunnel         *string            `json:"tunnel"`     // the request that carries bytes, "CONNECT HOST:PORT HTTP/1.1"
	Proxied        *string            `json:"proxied"`    // the PROXY header before all, "v1 203.0.113.9"; "" is none
	Peer           *string            `json:"peer"`       // the name in it; only Envoy is asked
	Protocol       string             `json:"protocol"`   // to the endpoint: HTTP/1.1 or HTTP/2.0
	// AsWritten: the names of headers are in the case in which they were written,
	// the request's and the answer's.
	AsWritten *bool `json:"asWritten"`

	// Spread of all Times over the endpoints: "one" gets all with one key,
	// "rotation" gives each its turn, "chance" its share.
	Spread string `json:"spread"`
	// Shares is the percent of the cluster's requests that each endpoint gets.
	Shares map[string]float64 `json:"shares"`
	// Hash is the table of a cluster with a consistent hash: "ring ENTRIES", or
	// "maglev LEAST..MOST" entries of an endpoint.
	Hash string `json:"hash"`
	// Connections to the endpoint that all Times, or those of AtOnce that it
	// gets, take.
	Connections int `json:"connections"`
	// Closes is after how much silence, or age, the proxy closes the connection
	// to the endpoint.
	Closes string `json:"closes"`
	// Pings is how often HTTP/2's pings come on it, while it is silent.
	Pings string `json:"pings"`
	// Keepalive are the options of the proxy's socket; {} is none.
	Keepalive *Keepalive `json:"keepalive"`
	// Ejected are the endpoints of the cluster that outlier detection has put out
	// after all Times; calls that follow do not reach them. Failures is how many
	// answers of Answer.Only that took.
	Ejected  *[]string `json:"ejected"`
	Failures int       `json:"failures"`
	// Returned: all ejected endpoints are taken back, within seconds.
	Returned bool `json:"returned"`
	// Counts is how many of AtOnce end with each status.
	Counts map[int]int `json:"counts"`
	// Credential is the name of the secret whose certificate the client gets.
	Credential *string `json:"credential"`

	// Labels are some of those under which the request is counted in
	// istio_requests_total; "" is what the agent writes as "unknown".
	Labels map[string]string `json:"labels"`

	// Checks are what external authorizers are asked, in order.
	Checks *[]Question `json:"checks"`

	Mirrors  *[]string `json:"mirrors"`
	Attempts int       `json:"attempts"`
	// Mirrored is the percent of Times that the one mirror gets.
	Mirrored *float64 `json:"mirrored"`
	Delay    string   `json:"delay"`   // at least so long, by a fault
	Within   string   `json:"within"`  // at most so long, with all waits between tries
	Timeout  string   `json:"timeout"` // of the route; "0s" is none

	Listener    string  `json:"listener"`
	FilterChain string  `json:"filterChain"`
	RouteTable  string  `json:"routeTable"`
	VirtualHost string  `json:"virtualHost"`
	Route       *string `json:"route"`
	// StatPrefix is under which Envoy counts the request for its route alone.
	StatPrefix *string `json:"statPrefix"`
	// ClusterStat is under which Envoy counts the request for its cluster.
	ClusterStat string `json:"clusterStat"`
}

// Keepalive is how the system probes a silent connection. What is not set is
// the system's default.
type Keepalive struct {
	Time     string `json:"time"`
	Interval string `json:"interval"`
	Probes   uint32 `json:"probes"`
}

// Resolver gives a call what its file leaves to the mesh.
type Resolver struct {
	// Address is the address of a host name as the app would look it up; nil, or
	// the zero Addr with no error, means that the call must say where it goes.
	Address func(host string) (netip.Addr, error)
	// Listener is the name of the listener that gets a call by default; ""
	// means the one bound to the port that is dialled.
	Listener string
	// ejected are the endpoints that calls before this have put out.
	ejected map[string][]string // by cluster
}

// Calls parses calls.yaml. Unknown fields are errors, and so is a call that
// wants nothing.
func Calls(content string) ([]Call, error) {
	var calls []Call
	if err := yaml.UnmarshalStrict([]byte(content), &calls); err != nil {
		return nil, fmt.Errorf("calls.yaml: %w", err)
	}
	for i, c := range calls {
		w := c.Want
		if !w.Closed && w.Status == 0 && w.Cluster == "" && len(w.Clusters) == 0 && len(w.Statuses) == 0 && len(w.Counts) == 0 && w.Ejected == nil {
			return nil, fmt.Errorf("calls.yaml: %s: want needs closed, status, statuses, cluster, clusters, counts or ejected", c.label(i))
		}
	}
	return calls, nil
}

// label names a call in messages.
func (c Call) label(i int) string {
	if c.Name != "" {
		return fmt.Sprintf("call %d (%s)", i+1, c.Name)
	}
	return fmt.Sprintf("call %d (%s %s%s)", i+1, c.Method, c.Host, c.Path)
}

// numbered is the nth call of Times.
func (c Call) numbered(n int) Call {
	number := func(s string) string { return strings.ReplaceAll(s, "{n}", strconv.Itoa(n)) }
	c.Path, c.From = number(c.Path), number(c.From)
	headers := map[string]Values{}
	for name, values := range c.Headers {
		for _, v := range values {
			headers[name] = append(headers[name], number(v))
		}
	}
	c.Headers = headers
	return c
}

// Resolve makes the call that simulator and Envoy get, the first of Times.
func (c Call) Resolve(r Resolver) (simulate.Call, error) { return c.resolve(r, 0) }

// resolve makes the call that simulator and Envoy get, the nth of Times.
func (c Call) resolve(r Resolver, n int) (simulate.Call, error) {
	c = c.numbered(n)
	out := simulate.Call{
		Listener: c.Listener, TCP: c.TCP, HTTP2: c.HTTP2, HTTP10: c.HTTP10, Method: c.Method, Host: c.Host, Path: c.Path, Body: c.Body,
		Upstream: simulate.Upstream{
			Status: c.Answer.Status, Failures: c.Answer.Failures, Only: c.Answer.Only, Refuse: c.Answer.Refuse, Hang: c.Answer.Hang, Mute: c.Answer.Mute,
			Public: c.Answer.Public, Identity: c.Answer.Identity, Revoked: c.Answer.Revoked, Demands: c.Answer.Demands, Report: c.Answer.Report,
		},
		Ejected: r.ejected, Abandon: c.Abandon,
	}
	if out.Listener == "" {
		out.Listener = r.Listener
	}
	for name, values := range c.Headers {
		out.Headers = out.Headers.With(name, values...)
	}
	if c.TLS != nil {
		out.TLS = &simulate.TLS{SNI: c.TLS.SNI, ALPN: c.TLS.ALPN, Identity: c.TLS.Identity, Version: c.TLS.Version, Ciphers: c.TLS.Ciphers, Curves: c.TLS.Curves, Stranger: c.TLS.Stranger, Revoked: c.TLS.Revoked}
		if c.TLS.Identity != "" {
			out.TLS.SPKI = envoy.SPKI(c.TLS.Identity)
		}
	}
	var err error
	for cluster, a := range c.Authorizers {
		if out.Authorizers == nil {
			out.Authorizers = map[string]simulate.Authorizer{}
		}
		if out.Authorizers[cluster], err = a.resolve(); err != nil {
			return out, err
		}
	}
	if c.Answer.Delay != "" {
		if out.Upstream.Delay, err = time.ParseDuration(c.Answer.Delay); err != nil {
			return out, fmt.Errorf("answer.delay: %w", err)
		}
	}
	if c.From != "" {
		if out.Source, err = source(c.From); err != nil {
			return out, fmt.Errorf("from: %w", err)
		}
	}
	out.Destination, err = c.destination(r)
	return out, err
}

func source(from string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(from); err == nil {
		return netip.AddrPortFrom(addr, 40000), nil
	}
	return netip.ParseAddrPort(from)
}

// destination is what the client dials.
func (c Call) destination(r Resolver) (netip.AddrPort, error) {
	if c.To != "" {
		return netip.ParseAddrPort(c.To)
	}
	name, port := c.Host, c.Port
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		if n, err := strconv.ParseUint(name[i+1:], 10, 16); err == nil {
			name = name[:i]
			if port == 0 {
				port = uint16(n)
			}
		}
	}
	if port == 0 {
		if port = 80; c.TLS != nil {
			port = 443
		}
	}
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return netip.AddrPortFrom(addr, port), nil
	}
	if r.Address == nil {
		return netip.AddrPort{}, fmt.Errorf("nothing says where %q is: give the call a to: ADDRESS:PORT", name)
	}
	addr, err := r.Address(name)
	if err == nil && !addr.IsValid() {
		err = fmt.Errorf("%q has no address: give the call a to: ADDRESS:PORT", name)
	}
	return netip.AddrPortFrom(addr, port), err
}

// sortedKeys of a map, for messages that do not change from run to run.
func sortedKeys[K string | int, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
