package envoy

import (
	"bufio"
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

// Headers by which a call tells the endpoints who it is and how to answer.
const (
	callHeader    = "x-weft-call"
	answerHeader  = "x-weft-answer"
	clusterHeader = "x-weft-cluster"
)

// anyEndpoint stands for the address of a call's own destination.
const anyEndpoint = "*"

// Seen is a request, or a TCP connection, as an endpoint saw it.
type Seen struct {
	Cluster  string // that the endpoint belongs to
	Endpoint string // its address in the configuration; "*" for an original destination
	Request  simulate.Request
	TLS      bool
	SNI      string
	Peer     string // URI in the proxy's certificate, else DNS name; "" when it showed none
	Curve    string // of TLS's key exchange: "X25519MLKEM768"; "" in plaintext
	TCP      bool
	Tunnel   string // the request that carries it, "CONNECT db.example.com:3306 HTTP/1.1"; "" without one
	Proxied  string // version and client of a PROXY header, "v1 203.0.113.9"; "" without one
	Protocol string // "HTTP/1.1" or "HTTP/2.0"; "" with TCP
	// AsWritten: the names of the request's headers are in the client's case.
	AsWritten bool
	// Conn is the same for all requests of one connection.
	Conn int64
	// From is the port of the proxy's end of the connection.
	From int
	// Pings are when HTTP/2's pings came on the connection so far; the channel is
	// closed at the next one.
	Pings func() ([]time.Time, <-chan struct{})
	// Gone is closed when the proxy has closed the connection.
	Gone <-chan struct{}
}

// echoes are the endpoints: one loopback listener for each cluster and
// endpoint, which speaks HTTP/1.1, HTTP/2, TLS and plain TCP.
type echoes struct {
	pki *pki

	mu      sync.Mutex
	open    []net.Listener
	servers []*http.Server
	sans    map[string]string // by cluster
	seen    map[string][]Seen // by call
	changed chan struct{}     // closed and replaced at each new Seen
	places  map[int]place     // by port
	manners map[*simulate.Upstream]bool
	conns   map[*peeked]place // HTTP connections that are open
	count   int64             // of connections so far
	// authorizers are how external ones answer, by cluster; checks are what they
	// were asked.
	authorizers map[string]simulate.Authorizer
	checks      []simulate.Check
	spans       []Span
	records     []Record
}

func newEchoes() *echoes {
	return &echoes{seen: map[string][]Seen{}, sans: map[string]string{}, changed: make(chan struct{}), places: map[int]place{}, manners: map[*simulate.Upstream]bool{}, conns: map[*peeked]place{}}
}

// identities says what endpoints of each cluster must prove to be.
func (e *echoes) identities(sans map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sans = sans
}

// connKey is the connection's key in a request's context.
type connKey struct{}

// place is the endpoint that a listener plays.
type place struct{ cluster, endpoint string }

// listen starts the endpoint of a cluster, unless it is there, and returns its
// port.
func (e *echoes) listen(cluster, endpoint string) (int, error) {
	if port := e.port(place{cluster, endpoint}); port != 0 {
		return port, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	at := place{cluster, endpoint}
	s := &sniffer{Listener: l, conns: make(chan net.Conn), done: make(chan struct{}), echoes: e, at: at}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasPrefix(at.cluster, authorizerClusters):
				e.authorize(at.cluster, w, r)
			case collects(at.cluster):
				e.collect(at.cluster, w, r)
			case tunnelled(r):
				s.carry(w, r)
			default:
				e.answer(at, w, r)
			}
		}), Protocols: protocols, ErrorLog: quiet,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:         func(c net.Conn, state http.ConnState) { e.follow(at, c, state) },
	}
	port := l.Addr().(*net.TCPAddr).Port
	e.mu.Lock()
	e.places[port] = at
	e.open, e.servers = append(e.open, l), append(e.servers, server)
	e.mu.Unlock()
	go s.accept()
	go func() { _ = server.Serve(s) }()
	return port, nil
}

// port is that of an endpoint; 0 if there is none.
func (e *echoes) port(at place) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	for port, p := range e.places {
		if p == at {
			return port
		}
	}
	return 0
}

// follow notes which connections are open.
func (e *echoes) follow(at place, c net.Conn, state http.ConnState) {
	conn, ok := c.(*peeked)
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch state {
	case http.StateNew:
		e.conns[conn] = at
	case http.StateActive, http.StateIdle:
	case http.StateClosed, http.StateHijacked:
		if _, open := e.conns[conn]; open {
			delete(e.conns, conn)
			close(conn.gone)
		}
	}
}

// behave makes connections to the endpoints go as u says, until the function
// that it returns is called. Those that are open are closed where u bears on
// connections.
func (e *echoes) behave(u simulate.Upstream) (stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.manners[&u] = true
	for conn, at := range e.conns {
		if mannered(u) && (u.Only == "" || at.endpoint == u.Only) {
			_ = conn.Close()
		}
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.manners, &u)
	}
}

// mannered says whether u bears on connections, and not on answers alone.
func mannered(u simulate.Upstream) bool {
	return u.Refuse || u.Hang || u.Identity != "" || u.Public || u.Revoked || u.Demands
}

// manner is how connections to an endpoint go now.
func (e *echoes) manner(endpoint string) simulate.Upstream {
	e.mu.Lock()
	defer e.mu.Unlock()
	for u := range e.manners {
		if u.Only == "" || u.Only == endpoint {
			return *u
		}
	}
	return simulate.Upstream{}
}

// endpoint is the address in the configuration of the endpoint on a port.
func (e *echoes) endpoint(port int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.places[port].endpoint
}

func (e *echoes) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.servers {
		_ = s.Close()
	}
	for _, l := range e.open {
		_ = l.Close()
	}
}

// answer plays the call's Upstream.
func (e *echoes) answer(at place, w http.ResponseWriter, r *http.Request) {
	seen := Seen{Cluster: at.cluster, Endpoint: at.endpoint, Request: requestOf(r), Protocol: r.Proto}
	if conn, ok := r.Context().Value(connKey{}).(*peeked); ok {
		seen.secured(conn.tls)
		seen.Proxied, seen.Tunnel = conn.client, conn.tunnel
		seen.Conn, seen.Gone, seen.Pings = conn.id, conn.gone, conn.pings.all
		seen.From = conn.RemoteAddr().(*net.TCPAddr).Port
		seen.AsWritten = conn.text.asWritten(callHeader)
	}
	attempt := e.record(r.Header.Get(callHeader), seen)
	upstream := parseAnswer(r.Header.Get(answerHeader))
	if r.Header.Get(callHeader) == "" { // of the proxy itself: a health check
		upstream = e.manner(at.endpoint)
	}
	if upstream.Only != "" && upstream.Only != at.endpoint {
		upstream = simulate.Upstream{}
	}
	if upstream.Delay > 0 {
		select {
		case <-time.After(upstream.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if conn, ok := r.Context().Value(connKey{}).(*peeked); ok && upstream.Mute {
		conn.mute.Store(true)
	}
	status := upstream.Status
	if status == 0 || upstream.Failures > 0 && attempt > upstream.Failures {
		status = http.StatusOK
	}
	if upstream.Report {
		w.Header().Set(simulate.ReportHeader, simulate.Report)
	}
	w.Header().Set(clusterHeader, at.cluster)
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, "answer of", at.endpoint)
}

func requestOf(r *http.Request) simulate.Request {
	headers := simulate.Headers{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = values
	}
	delete(headers, callHeader)
	delete(headers, answerHeader)
	scheme := "http"
	if proto := r.Header.Get("x-forwarded-proto"); proto != "" {
		scheme = proto
	}
	return simulate.Request{Method: r.Method, Scheme: scheme, Host: r.Host, Path: r.RequestURI, Headers: headers}
}

// record keeps what was seen of a call and returns how often the cluster has
// seen it, this time included.
func (e *echoes) record(call string, s Seen) (attempt int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen[call] = append(e.seen[call], s)
	for _, each := range e.seen[call] {
		if each.Cluster == s.Cluster {
			attempt++
		}
	}
	close(e.changed)
	e.changed = make(chan struct{})
	return attempt
}

// of returns what was seen of a call so far, and a channel that is closed when
// anything more is seen.
func (e *echoes) of(call string) ([]Seen, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Seen(nil), e.seen[call]...), e.changed
}

// sniffer is a listener that tells TLS, HTTP and TCP apart by their first
// bytes. TCP it answers itself, TLS it wraps.
type sniffer struct {
	net.Listener
	conns  chan net.Conn
	done   chan struct{}
	echoes *echoes
	at     place
}

func (s *sniffer) accept() {
	defer close(s.done)
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return
		}
		go s.sniff(conn)
	}
}

// Accept gives the HTTP connections to the server.
func (s *sniffer) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// tcpGreeting begins a TCP call; the name of the call and a newline follow.
const tcpGreeting = "\x01weft-tcp "

// sniff finds out what a connection speaks. TLS may hold TLS: a client's own,
// carried through the proxies' mTLS. Only the outer one is then told of.
func (s *sniffer) sniff(conn net.Conn) {
	if manner := s.echoes.manner(s.at.endpoint); manner.Refuse {
		_ = conn.Close()
		return
	} else if manner.Hang {
		_, _ = io.Copy(io.Discard, conn) // until the proxy gives up
		_ = conn.Close()
		return
	}
	s.serve(conn, nil)
}

// serve answers what a connection speaks. One within a tunnel is served to its
// end.
func (s *sniffer) serve(conn net.Conn, within *outer) {
	next, err := s.unwrap(conn)
	if err != nil {
		_ = conn.Close()
		return
	}
	if within != nil {
		next.tunnel, next.tls = within.said, within.tls
	}
	if next.head[0] == tcpGreeting[0] {
		s.tcp(next)
		return
	}
	s.echoes.mu.Lock()
	s.echoes.count++
	next.id, next.gone, next.pings = s.echoes.count, make(chan struct{}), newPings()
	s.echoes.mu.Unlock()
	select {
	case s.conns <- next:
		if within != nil {
			<-next.gone
		}
	case <-s.done:
		_ = conn.Close()
	}
}

func (s *sniffer) unwrap(conn net.Conn) (*peeked, error) {
	next, err := peek(conn)
	if err == nil {
		err = next.proxied()
	}
	client := next.client
	for err == nil && next.head[0] == tlsHandshake {
		secured := stdtls.Server(next, s.tlsConfig())
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = secured.HandshakeContext(ctx)
		cancel()
		if err != nil {
			return nil, err
		}
		outer := next.tls
		if next, err = peek(secured); outer != nil {
			next.tls = outer
		} else {
			state := secured.ConnectionState()
			next.tls = &state
		}
	}
	next.client = client
	return next, err
}

// tlsHandshake is the first byte of a TLS connection.
const tlsHandshake = 0x16

// tcp answers a TCP call with the cluster's name.
func (s *sniffer) tcp(conn *peeked) {
	defer func() { _ = conn.Close() }()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, tcpGreeting) {
		return
	}
	seen := Seen{Cluster: s.at.cluster, Endpoint: s.at.endpoint, TCP: true, Proxied: conn.client, Tunnel: conn.tunnel}
	seen.secured(conn.tls)
	s.echoes.record(strings.TrimSpace(strings.TrimPrefix(line, tcpGreeting)), seen)
	_, _ = fmt.Fprintf(conn, "%s\n", s.at.cluster)
}

// secured notes what TLS says of the proxy; nil means plaintext.
func (s *Seen) secured(state *stdtls.ConnectionState) {
	if state == nil {
		return
	}
	s.TLS, s.SNI, s.Curve = true, state.ServerName, state.CurveID.String()
	if len(state.PeerCertificates) == 0 {
		return
	}
	switch leaf := state.PeerCertificates[0]; {
	case len(leaf.URIs) > 0:
		s.Peer = leaf.URIs[0].String()
	case len(leaf.DNSNames) > 0:
		s.Peer = leaf.DNSNames[0]
	}
}

// peeked is a connection whose first byte was looked at.
type peeked struct {
	net.Conn
	head []byte                  // read, not yet given out
	tls  *stdtls.ConnectionState // of the outermost TLS; nil in plaintext
	// client is what a PROXY header said, "v1 203.0.113.9"; "" without one.
	client string
	tunnel string // in which it is, as Seen.Tunnel
	id     int64
	// pings are those that come, once it is a server's; mute, that nothing is
	// written any more after the next of them.
	pings *pings
	mute  atomic.Bool
	dumb  atomic.Bool
	gone  chan struct{} // closed with the connection, once it is a server's
	text  head
}

func peek(conn net.Conn) (*peeked, error) {
	head := make([]byte, 1)
	n, err := conn.Read(head)
	if n == 0 && err == nil {
		err = errors.New("nothing read")
	}
	return &peeked{Conn: conn, head: head[:n:n]}, err
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.head) > 0 && len(b) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		p.watch(b[:n])
		return n, nil
	}
	n, err := p.Conn.Read(b)
	p.watch(b[:n])
	return n, err
}

func (p *peeked) watch(b []byte) {
	p.text.add(b)
	if p.pings != nil && p.pings.read(b) && p.mute.Load() {
		p.dumb.Store(true)
	}
}

// Write drops what a mute endpoint would say.
func (p *peeked) Write(b []byte) (int, error) {
	if p.dumb.Load() {
		return len(b), nil
	}
	return p.Conn.Write(b)
}
