// Package simulate says what an Envoy with a given configuration does with a
// request, without running one.
//
// Purpose: every test case is answered twice, here and by a real Envoy, and
// the two must agree; `weft` explains routes with it. Inputs: the resources of
// a proxy as it gets them over xDS (listeners, route tables, virtual hosts,
// clusters, endpoints) and a Call. Output: the possible Outcomes with their
// probabilities. A matcher, filter or field that it does not know is an error,
// never a silent pass. It may import Envoy's protos and the standard library
// only, nothing of Weft: it must not share a mistake with the translators.
//
// Source: Envoy's documentation of version 1.40, "HTTP route matching",
// "Listeners" and the proto references; where that is silent, the behaviour of
// the binary, which test/envoy compares.
package simulate

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Call is one request, or one connection when TCP is set, as it reaches the
// proxy.
type Call struct {
	// Listener is the name of the listener that accepts the connection. Empty:
	// the listener that is bound to the port of Destination.
	Listener string
	// Destination is the address the client dialled, which capture preserves.
	Destination netip.AddrPort
	// Source is the client's address; the zero value is 127.0.0.1:40000.
	Source netip.AddrPort
	// TLS is nil for a plaintext connection.
	TLS *TLS
	// TCP is a connection of bytes that are no HTTP; the fields below are then
	// unused.
	TCP bool
	// HTTP2 makes the request HTTP/2: with prior knowledge in plaintext, by
	// ALPN in TLS.
	HTTP2 bool
	// HTTP10 makes it HTTP/1.0.
	HTTP10 bool

	Method  string // "" is GET
	Host    string // the Host or :authority header, with a port if the client sends one
	Path    string // with the query; "" is /
	Headers Headers
	Body    string
	// Authorizers are how external authorizers answer, by their clusters.
	Authorizers map[string]Authorizer
	// Upstream is how the server behind the proxy answers.
	Upstream Upstream
	// Abandon has the client go away once an endpoint has the request.
	Abandon bool
	// Ejected are the endpoints, "IP:PORT", that outlier detection has put out, by
	// cluster.
	Ejected map[string][]string
}

// TLS is the client's side of a TLS connection.
type TLS struct {
	SNI  string
	ALPN []string // in the client's order
	// Identity is the URI SAN, or DNS name, of the client's certificate; empty: it
	// shows none.
	Identity string
	// Version is the only one that the client speaks: "1.2" or "1.3"; "" is both.
	Version string
	// Ciphers are the only cipher suites of TLS 1.2 that the client offers, by
	// OpenSSL's names; none: all that are usual.
	Ciphers []string
	// Curves are the only ones for the key exchange that it offers, by Envoy's
	// names; none: all that are usual.
	Curves []string
	// Stranger: its certificate is signed by a CA that nobody trusts; Revoked: its
	// CA has revoked it.
	Stranger, Revoked bool
	// SPKI is the base64 of the SHA-256 of its certificate's key.
	SPKI string
}

// Upstream is what an endpoint does with requests. The zero value answers 200
// at once.
type Upstream struct {
	Status int           // of the answers; 0 is 200
	Delay  time.Duration // before each answer
	// Failures is how many attempts are answered with Status before the rest are
	// answered with 200; 0 means all are answered with Status.
	Failures int
	// Only is the one endpoint, "IP:PORT", that answers so, the others answer 200
	// at once; "" means that all do.
	Only string
	// Refuse ends connections before a TLS handshake, in place of any answer.
	Refuse bool
	// Mute says nothing more once it has answered, not even to a ping.
	Mute bool
	// Hang never answers a TLS handshake.
	Hang bool
	// Public is an endpoint whose certificate a public CA has signed; else it is
	// the CA of the mesh, which is also that of every file but the system's.
	Public bool
	// Identity is the name in the endpoint's certificate; "" is what the cluster
	// asks for.
	Identity string
	// Revoked: its CA has revoked the endpoint's certificate.
	Revoked bool
	// Demands: over TLS the endpoint wants a certificate of the proxy's.
	Demands bool
	// Report: its answers carry a load report, the header endpoint-load-metrics.
	Report bool
}

// Outcome is one thing that may become of a Call.
type Outcome struct {
	// Probability is in (0, 1]; those of all outcomes of a call add up to 1.
	Probability float64
	Listener    string
	FilterChain string // its name; "" when it has none
	RouteTable  string
	VirtualHost string
	Route       string // its name; "" when it has none
	StatPrefix  string // under which the route has statistics of its own; "": it has none

	// Flags are the response flags as Envoy logs them: "UF,URX", "-" for none; ""
	// where they depend on how an endpoint and a client of bytes hang up.
	Flags string
	// Closed says why the connection ends without any answer; "" when it does
	// not.
	Closed string
	// Status is the answer's status: the proxy's own, or the upstream's. It is 0
	// for TCP and when Closed is set.
	Status int
	// Local means that the proxy answered by itself.
	Local bool
	// Body is the answer's body where Local is set and the configuration gives
	// one.
	Body string
	// Response holds the headers that the proxy puts on the answer; removed ones
	// are present with no values.
	Response Headers

	// Cluster is where the request goes; "" when it goes nowhere.
	Cluster string
	// ClusterStat is the name under which the cluster's statistics are.
	ClusterStat string
	// Upstreams are the endpoints one of which gets it, in configuration order.
	Upstreams []Target
	// Request is what the endpoint sees. It is empty where none sees it.
	Request Request
	// Checks are what external authorizers were asked, in order.
	Checks []Check
	// Mirrors are the clusters that get a copy, with the chance of each.
	Mirrors []Mirror
	// Attempts is how often the request is sent upstream.
	Attempts int
	// Timeout of the whole request; 0 means none.
	Timeout time.Duration
	// Delay is how long the proxy holds the request back (a fault).
	Delay time.Duration
	// Backoff is how long the waits between tries may be in all.
	Backoff time.Duration
	// Credential is the name of the certificate's secret that a TLS client gets;
	// "" without TLS, and for a certificate from a file.
	Credential string
	// Tunnel is the request within which bytes are sent on: "CONNECT
	// db.example.com:3306 HTTP/1.1"; "": none is.
	Tunnel string
	// Way is how the cluster chooses among Upstreams and keeps connections.
	Way Way
}

// Request is a request as an endpoint sees it.
type Request struct {
	Method, Scheme, Host, Path string
	// Headers are those of the call, as the proxy changed them. Headers that the
	// proxy adds for its own sake (x-request-id and its like) are absent.
	Headers Headers
}

// Target is an endpoint of the cluster, and how the proxy speaks to it.
type Target struct {
	Address string // "IP:PORT", or "HOST:PORT" in a DNS cluster
	// Share of the cluster's requests that it gets; all sum to 1.
	Share float64
	TLS   bool
	SNI   string
	// Certificate says that the proxy shows one of its own.
	Certificate bool
	// Revokes: it has a list of certificates that are revoked.
	Revokes bool
	// Unready: a secret that it needs for TLS is not there.
	Unready bool
	// Names are those one of which the endpoint's certificate must have; "*" at
	// the end stands for any text. None: any certificate of the CA will do.
	Names []string
	// Proxied is the PROXY header that comes first: its version and the client in
	// it, "v1 203.0.113.9"; "": none does.
	Proxied string
	// CA is who must have signed the endpoint's certificate.
	CA Authority
}

// Authority is a CA, as far as the simulator tells them apart.
type Authority string

// The endpoint's certificate is not checked, or is one of the mesh's CA, or of
// the public ones that the system knows.
const (
	Unchecked Authority = ""
	MeshCA    Authority = "mesh"
	PublicCA  Authority = "public"
)

// Mirror is a cluster that gets a copy of the request.
type Mirror struct {
	Cluster string
	Chance  float64 // in (0, 1]
}

// Config is the configuration of one proxy, indexed. It is immutable.
type Config struct {
	listeners map[string]*listener.Listener
	order     []string // names of listeners as given
	routes    map[string]*route.RouteConfiguration
	vhosts    map[string]map[string]*route.VirtualHost // by route table, by resource name
	clusters  map[string]*cluster.Cluster
	endpoints map[string]*endpoint.ClusterLoadAssignment
	secrets   map[string]*tls.Secret
	place     string // where the proxy is, as placeOf has it
}

// New indexes resources. Types that do not decide where a request goes
// (DNS tables) are passed over; any other unknown type is an error.
func New(resources []*discovery.Resource) (*Config, error) {
	c := &Config{
		listeners: map[string]*listener.Listener{},
		routes:    map[string]*route.RouteConfiguration{},
		vhosts:    map[string]map[string]*route.VirtualHost{},
		clusters:  map[string]*cluster.Cluster{},
		endpoints: map[string]*endpoint.ClusterLoadAssignment{},
		secrets:   map[string]*tls.Secret{},
	}
	for _, r := range resources {
		if err := c.add(r.GetName(), r.GetResource()); err != nil {
			return nil, fmt.Errorf("resource %s %q: %w", r.GetResource().GetTypeUrl(), r.GetName(), err)
		}
	}
	return c, nil
}

func (c *Config) add(name string, body *anypb.Any) error {
	switch body.GetTypeUrl() {
	case "type.googleapis.com/envoy.data.dns.v3.DnsTable.DnsVirtualDomain":
		return nil
	}
	m, err := body.UnmarshalNew()
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *listener.Listener:
		c.listeners[m.GetName()] = m
		c.order = append(c.order, m.GetName())
	case *route.RouteConfiguration:
		c.routes[m.GetName()] = m
	case *route.VirtualHost:
		table, err := tableOf(name)
		if err != nil {
			return err
		}
		if c.vhosts[table] == nil {
			c.vhosts[table] = map[string]*route.VirtualHost{}
		}
		c.vhosts[table][name] = m
	case *cluster.Cluster:
		c.clusters[m.GetName()] = m
	case *tls.Secret:
		c.secrets[m.GetName()] = m
	case *endpoint.ClusterLoadAssignment:
		c.endpoints[m.GetClusterName()] = m
	default:
		return fmt.Errorf("a type the simulator does not know")
	}
	return nil
}

// Run says what becomes of call. An error means that the simulator cannot
// tell: a field, matcher or filter it does not know, or a configuration that
// Envoy would refuse.
func (c *Config) Run(call Call) ([]Outcome, error) {
	w, err := c.accept(call)
	if errors.Is(err, errNotBound) {
		return []Outcome{{Probability: 1, Closed: err.Error()}}, nil
	}
	if err != nil {
		return nil, err
	}
	chain, err := w.chooseChain()
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", w.listener.GetName(), err)
	}
	if chain == nil {
		return w.closed("no filter chain matches"), nil
	}
	outcomes, err := w.runChain(chain)
	if err != nil {
		return nil, fmt.Errorf("listener %q, filter chain %q: %w", w.listener.GetName(), chain.GetName(), err)
	}
	return outcomes, nil
}

// walk is the state of one call on its way. It is copied where the way forks.
type walk struct {
	config   *Config
	call     Call
	conn     connection
	listener *listener.Listener
	out      Outcome
	// table, vhost and route are set as they are found.
	table *route.RouteConfiguration
	vhost *route.VirtualHost
	route *route.Route
	// weighted is the chosen entry of a weighted cluster; nil for a plain one.
	weighted *route.WeightedCluster_ClusterWeight
	// flags is what has befallen the call so far.
	flags flags
	// named is the cluster that the server name names; "" where it names none.
	named string
	// secure: the proxy ended the client's TLS.
	secure bool
	// remote is whom the request is from, where headers say so and are believed.
	remote netip.Addr
	// metadata is what filters said of the request, by filter.
	metadata map[string]*structpb.Struct
	// rerouted: a filter has let go of the route that was chosen.
	rerouted bool
	// quiet: the router writes no x-envoy- headers.
	quiet bool
	// looked: a filter has looked up the host or server name that the client
	// names, and lookedPort is the port at which the latter is called.
	looked     bool
	lookedPort uint32
	// manager is the HTTP connection manager that took the request.
	manager *hcm.HttpConnectionManager
}

// closed is the one outcome of a connection that ends.
func (w walk) closed(why string) []Outcome {
	w.out.Closed = why
	w.out.Status = 0
	return w.done()
}

// fork follows yes with probability p and no with the rest.
func (w walk) fork(p float64, yes, no func(walk) ([]Outcome, error)) ([]Outcome, error) {
	var all []Outcome
	for _, branch := range []struct {
		p   float64
		run func(walk) ([]Outcome, error)
	}{{p, yes}, {1 - p, no}} {
		if branch.p <= 0 {
			continue
		}
		next := w
		next.out.Probability *= branch.p
		outcomes, err := branch.run(next)
		if err != nil {
			return nil, err
		}
		all = append(all, outcomes...)
	}
	return all, nil
}
