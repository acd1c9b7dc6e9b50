package envoy

import (
	"bufio"
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

// quiet drops what http.Server logs of broken connections, which some calls
// mean to break.
var quiet = log.New(io.Discard, "", 0)

// Observed is what came of a call.
type Observed struct {
	// Closed is how the connection ended when there was no answer; "" when there
	// was one.
	Closed  string
	Status  int
	Headers simulate.Headers // of the answer
	Body    string
	// Seen is what the endpoints saw, in the order in which it arrived.
	Seen []Seen
	Took time.Duration
	// Checks are what external authorizers were asked.
	Checks []simulate.Check
	// Flags is for the caller's use, who may have awaited them.
	Flags string
	port  uint32 // of the connection to the proxy
	// AsWritten: the names of the answer's headers are in the endpoint's case.
	AsWritten bool
	// Credential is the name of the secret that holds the certificate that the
	// proxy showed; "" when it showed none, or one of the harness's own.
	Credential string
}

// Do makes one call through the proxy. An error means that the call could not
// be made; a refusal by the proxy is an Observed.
func (p *Proxy) Do(ctx context.Context, call simulate.Call) (Observed, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	name := strconv.FormatInt(p.calls.Add(1), 10)
	var port atomic.Uint32
	dial, err := p.dialer(call, &port)
	if errors.Is(err, errNoListener) && call.Listener == "" {
		return Observed{Closed: err.Error()}, nil // as the system would refuse it
	}
	if err != nil {
		return Observed{}, err
	}
	if u := call.Upstream; mannered(u) {
		defer p.echoes.behave(u)()
	}
	asked := p.echoes.authorizing(call.Authorizers)
	start, within := time.Now(), ctx
	if call.Abandon {
		var leave context.CancelFunc
		within, leave = context.WithCancel(ctx)
		defer p.onceSeen(ctx, name, leave)()
	}
	var out Observed
	if call.TCP {
		out = doTCP(within, dial, name)
	} else if out, err = p.doHTTP(within, call, dial, name); err != nil {
		return Observed{}, err
	}
	out.Took, out.port = time.Since(start), port.Load()
	out.Seen, _ = p.echoes.of(name)
	out.Checks = asked()
	p.mu.Lock()
	out.Credential = p.ads.holder(p.shown)
	p.mu.Unlock()
	return out, nil
}

// AwaitSeen waits until the endpoints have seen at least n requests of the
// last call that returned out, or ctx ends: mirrors arrive on their own time.
// It returns what was seen by then.
func (p *Proxy) AwaitSeen(ctx context.Context, out Observed, n int) []Seen {
	name := out.Headers["call"]
	if len(name) == 0 {
		return out.Seen
	}
	for {
		seen, changed := p.echoes.of(name[0])
		if len(seen) >= n {
			return seen
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return seen
		}
	}
}

// Arrivals is a channel that is closed when anything more arrives at an
// endpoint.
func (p *Proxy) Arrivals() <-chan struct{} {
	_, changed := p.echoes.of("")
	return changed
}

// onceSeen calls leave when an endpoint has seen a request of the call, or its
// own result is called.
func (p *Proxy) onceSeen(ctx context.Context, name string, leave func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer leave()
		for {
			seen, changed := p.echoes.of(name)
			if len(seen) > 0 {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}

// AwaitFlags waits for the response flags that Envoy logs of the call that
// returned out: "UF,URX", "-" for none; "" when ctx ends first, as it does when
// a connection was refused before any filter had it.
func (p *Proxy) AwaitFlags(ctx context.Context, out Observed) string {
	return p.ads.logs.await(ctx, out.port)
}

type dialFunc func(ctx context.Context) (net.Conn, error)

// dialer opens connections as capture would hand them to the listener, with
// TLS when the call has it. The port of each goes to *own.
func (p *Proxy) dialer(call simulate.Call, own *atomic.Uint32) (dialFunc, error) {
	name, destination, err := p.plan.entry(call)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.ports[name]))
	if call.Destination.Addr().IsLoopback() {
		address = net.JoinHostPort(call.Destination.Addr().String(), strconv.Itoa(p.ports[name]))
	}
	header := proxyHeader(call.Source, destination)
	config, err := p.clientTLS(call)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{}
	if from := call.Source.Addr(); from.IsLoopback() && from.Is4() {
		dialer.LocalAddr = &net.TCPAddr{IP: from.AsSlice()} // as the socket has it, beside what the header says
	}
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		own.Store(uint32(conn.LocalAddr().(*net.TCPAddr).Port))
		p.ads.logs.begin(own.Load())
		if _, err := io.WriteString(conn, header); err != nil {
			_ = conn.Close()
			return nil, err
		}
		if config == nil {
			return conn, nil
		}
		secured := stdtls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		p.mu.Lock()
		p.shown = secured.ConnectionState().PeerCertificates[0].Raw
		p.mu.Unlock()
		return secured, nil
	}, nil
}

// entry is the bound listener that a call arrives at, and the destination that
// the listener must believe in.
func (p *plan) entry(call simulate.Call) (name string, destination netip.AddrPort, err error) {
	if call.Listener == "" {
		for _, name := range p.order {
			if p.bound[name].hears(call.Destination) {
				return name, call.Destination, nil
			}
		}
		return "", destination, fmt.Errorf("%v: %w", call.Destination, errNoListener)
	}
	b, ok := p.bound[call.Listener]
	if !ok {
		return "", destination, fmt.Errorf("%q: %w", call.Listener, errNoListener)
	}
	if b.restores || b.port == call.Destination.Port() {
		return call.Listener, call.Destination, nil
	}
	destination, err = netip.ParseAddrPort(b.address)
	return call.Listener, destination, err
}

// proxyHeader is the PROXY protocol's first line, version 1.
func proxyHeader(source, destination netip.AddrPort) string {
	family := "TCP4"
	if destination.Addr().Is6() {
		family = "TCP6"
	}
	if !source.IsValid() {
		source = netip.MustParseAddrPort("127.0.0.1:40000")
	}
	if family == "TCP6" && source.Addr().Is4() {
		source = netip.AddrPortFrom(netip.IPv6Loopback(), source.Port())
	}
	return fmt.Sprintf("PROXY %s %s %s %d %d\r\n", family, source.Addr(), destination.Addr(), source.Port(), destination.Port())
}

// curves are Go's names for those by Envoy's.
var curves = map[string]stdtls.CurveID{"X25519MLKEM768": stdtls.X25519MLKEM768, "X25519": stdtls.X25519, "P-256": stdtls.CurveP256, "P-384": stdtls.CurveP384, "P-521": stdtls.CurveP521}

// cipherSuites are those of TLS 1.2 that a call may name, by OpenSSL's names;
// the harness's own keys are of elliptic curves, but for files named rsa.
var cipherSuites = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": stdtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": stdtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   stdtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
}

func (p *Proxy) clientTLS(call simulate.Call) (*stdtls.Config, error) {
	if call.TLS == nil {
		return nil, nil
	}
	config := &stdtls.Config{
		ServerName: call.TLS.SNI, NextProtos: call.TLS.ALPN, MinVersion: stdtls.VersionTLS12,
		InsecureSkipVerify: true, // the certificate is the harness's own; what is tested is the proxy's view
	}
	for _, name := range call.TLS.Ciphers {
		id, ok := cipherSuites[name]
		if !ok {
			return nil, fmt.Errorf("cipher suite %q: the harness does not know it", name)
		}
		config.CipherSuites = append(config.CipherSuites, id)
	}
	for _, name := range call.TLS.Curves {
		id, ok := curves[name]
		if !ok {
			return nil, fmt.Errorf("curve %q: the harness does not know it", name)
		}
		config.CurvePreferences = append(config.CurvePreferences, id)
	}
	switch call.TLS.Version {
	case "1.2":
		config.MaxVersion = stdtls.VersionTLS12
	case "1.3":
		config.MinVersion = stdtls.VersionTLS13
	}
	if call.HTTP2 && len(config.NextProtos) == 0 {
		config.NextProtos = []string{"h2"}
	}
	if call.TCP {
		config.NextProtos = append([]string{"weft-tcp"}, config.NextProtos...)
	}
	if id := call.TLS.Identity; id != "" {
		leaf, err := p.pki.client(id, call.TLS)
		if err != nil {
			return nil, err
		}
		config.Certificates = []stdtls.Certificate{leaf}
	}
	return config, nil
}

// doTCP greets the endpoint and reads its answer.
func doTCP(ctx context.Context, dial dialFunc, name string) Observed {
	conn, err := dial(ctx)
	if err != nil {
		return Observed{Closed: err.Error()}
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(conn, "%s%s\n", tcpGreeting, name); err != nil {
		return Observed{Closed: err.Error()}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return Observed{Closed: err.Error()}
	}
	return Observed{Body: strings.TrimSpace(line), Headers: simulate.Headers{"call": {name}}}
}

// doHTTP makes the request; a connection that ends without an answer is an
// Observed, not an error.
func (p *Proxy) doHTTP(ctx context.Context, call simulate.Call, dial dialFunc, name string) (Observed, error) {
	req, err := request(ctx, call, name)
	if err != nil {
		return Observed{}, err
	}
	if call.HTTP10 {
		dial = dial.asHTTP10()
	}
	var head head
	dial = dial.heard(&head)
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!call.HTTP2)
	protocols.SetUnencryptedHTTP2(call.HTTP2)
	protocols.SetHTTP2(call.HTTP2)
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, Protocols: protocols,
		DialContext:    func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil && !call.Abandon {
			return Observed{}, fmt.Errorf("no answer in time: %w", err)
		}
		return Observed{Closed: err.Error()}, nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Observed{}, err
	}
	headers := simulate.Headers{"call": {name}}
	for key, values := range resp.Header {
		headers[strings.ToLower(key)] = values
	}
	return Observed{Status: resp.StatusCode, Headers: headers, Body: string(body), AsWritten: head.asWritten(clusterHeader)}, nil
}

// request is the call as the client's HTTP library would write it, with the
// path byte for byte.
func request(ctx context.Context, call simulate.Call, name string) (*http.Request, error) {
	method, path := call.Method, call.Path
	if method == "" {
		method = http.MethodGet
	}
	if path == "" {
		path = "/"
	}
	scheme := "http"
	if call.TLS != nil {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://upstream.invalid/", strings.NewReader(call.Body))
	if err != nil {
		return nil, err
	}
	bare, query, hasQuery := strings.Cut(path, "?")
	req.URL = &url.URL{Scheme: scheme, Host: "upstream.invalid", Opaque: bare, RawQuery: query, ForceQuery: hasQuery && query == ""}
	req.Host = call.Host
	for key, values := range call.Headers {
		req.Header[http.CanonicalHeaderKey(key)] = values
	}
	req.Header.Set(callHeader, name)
	req.Header.Set(answerHeader, formatAnswer(call.Upstream))
	return req, nil
}
