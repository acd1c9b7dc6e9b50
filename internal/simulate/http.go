package simulate

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	cors "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	askedhttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	extauthz "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	fault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstats "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcweb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	mutation "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	jwt "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	rbachttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	setfilterstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	stateful "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/simulate/urlpath"
)

// callRequest is the request as the client sent it.
func (w walk) callRequest() Request {
	r := Request{Method: w.call.Method, Host: w.call.Host, Path: w.call.Path, Headers: w.call.Headers, Scheme: "http"}
	if r.Method == "" {
		r.Method = "GET"
	}
	if r.Path == "" {
		r.Path = "/"
	}
	if w.call.TLS != nil {
		r.Scheme = "https"
	}
	return r
}

// http is the HTTP connection manager: it mends the request, finds its route
// and runs the HTTP filters.
func (w walk) http(m *hcm.HttpConnectionManager) ([]Outcome, error) {
	if err := checkKnown(m); err != nil {
		return nil, err
	}
	all, err := w.request(m)
	if err != nil {
		return nil, err
	}
	return server(m, all)
}

func (w walk) request(m *hcm.HttpConnectionManager) ([]Outcome, error) {
	w.manager, w.out.Request = m, w.callRequest()
	if w.call.HTTP10 && !m.GetHttpProtocolOptions().GetAcceptHttp_10() {
		return w.with(protocolError).local(426, ""), nil
	}
	if !w.underscores(m) {
		if w.call.HTTP2 {
			return w.closed("its stream is reset: a header has an underscore in its name"), nil
		}
		return w.with(protocolError).local(400, ""), nil
	}
	refusal, err := w.mend(m)
	if err != nil {
		return nil, err
	}
	if refusal != 0 {
		return w.local(refusal, ""), nil
	}
	if w.table, err = w.config.table(m); err != nil {
		return nil, err
	}
	if w.table == nil {
		return w.with(noRoute).local(404, ""), nil
	}
	w.out.RouteTable = w.table.GetName()
	return w.findRoute(func(w walk) ([]Outcome, error) { return w.filters(m.GetHttpFilters()) })
}

// local is an answer of the proxy's own.
func (w walk) local(status int, body string) []Outcome {
	w.out.Status, w.out.Local, w.out.Body = status, true, body
	w.out.Request, w.out.Upstreams, w.out.Attempts = Request{}, nil, 0
	return w.done()
}

// mend does what the connection manager does to a request before it looks for
// a route. A status other than 0 refuses the request.
func (w *walk) mend(m *hcm.HttpConnectionManager) (status int, err error) {
	r := &w.out.Request
	if err := w.early(m); err != nil {
		return 0, err
	}
	w.forwardedProto(m)
	w.remote = w.believed(m)
	w.forwardedFor(m)
	w.clientCertificate(m)
	w.requestID(m)
	w.forwardedPort(m)
	if m.GetStripTrailingHostDot() {
		host, port, hasPort := cutPort(r.Host)
		if host = strings.TrimSuffix(host, "."); hasPort {
			host += ":" + port
		}
		r.Host = host
	}
	if host, port, ok := cutPort(r.Host); ok {
		own := strconv.Itoa(int(w.conn.destination.Port()))
		if m.GetStripAnyHostPort() || m.GetStripMatchingHostPort() && port == own {
			r.Host = host
		}
	}
	if strings.Contains(r.Path, "#") {
		return 400, nil // a fragment is not for servers; Envoy refuses it wherever it stands
	}
	bare, query, hasQuery := strings.Cut(r.Path, "?")
	if bare, status, err = escapedSlashes(bare, m.GetPathWithEscapedSlashesAction()); err != nil || status != 0 {
		return status, err
	}
	if m.GetNormalizePath().GetValue() {
		bare = urlpath.Clean(bare)
	}
	if m.GetMergeSlashes() {
		bare = urlpath.Merge(bare)
	}
	if r.Path = bare; hasQuery {
		r.Path += "?" + query
	}
	return 0, nil
}

// forwardedProto settles the request's scheme. A proxy at the edge
// (use_remote_address) goes by the connection, another believes
// x-forwarded-proto.
func (w *walk) forwardedProto(m *hcm.HttpConnectionManager) {
	r := &w.out.Request
	if s := m.GetSchemeHeaderTransformation().GetSchemeToOverwrite(); s != "" {
		r.Scheme = s
		return
	}
	// Proxies that are trusted have written what they were asked with.
	if m.GetUseRemoteAddress().GetValue() && m.GetXffNumTrustedHops() == 0 {
		r.Headers = r.Headers.With("x-forwarded-proto", r.Scheme)
		return
	}
	switch proto, _ := r.Headers.Get("x-forwarded-proto"); proto {
	case "http", "https":
		r.Scheme = proto
	default:
		r.Headers = r.Headers.With("x-forwarded-proto", r.Scheme)
	}
}

// believed is whom x-forwarded-for says the request is from, if it is believed:
// at the edge only behind trusted hops, elsewhere its last address.
// Source: "x-forwarded-for" of Envoy's documentation.
func (w *walk) believed(m *hcm.HttpConnectionManager) netip.Addr {
	came, _ := w.out.Request.Headers.Get("x-forwarded-for")
	addresses, back := strings.Split(came, ","), int(m.GetXffNumTrustedHops())
	if !m.GetUseRemoteAddress().GetValue() {
		back++
	}
	if back == 0 || back > len(addresses) {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(strings.TrimSpace(addresses[len(addresses)-back]))
	return a
}

// forwardedFor says at the edge whom the request is from: the connection's other
// end is added to x-forwarded-for, and the client that is believed goes into
// x-envoy-external-address. With trusted hops that is so many addresses from
// the right of what came in. Of a client on the loopback interface Envoy writes
// its node's address, which is not known here: nothing is said.
// Source: "x-forwarded-for" of Envoy's documentation.
func (w *walk) forwardedFor(m *hcm.HttpConnectionManager) {
	if !m.GetUseRemoteAddress().GetValue() || w.conn.source.Addr().IsLoopback() {
		return
	}
	r, client := &w.out.Request, w.conn.source.Addr().String()
	chain := client
	if came, ok := r.Headers.Get("x-forwarded-for"); ok {
		chain = came + "," + chain
		addresses, hops := strings.Split(came, ","), int(m.GetXffNumTrustedHops())
		if hops > 0 && hops <= len(addresses) {
			if a, err := netip.ParseAddr(strings.TrimSpace(addresses[len(addresses)-hops])); err == nil {
				client = a.String()
			}
		}
	}
	r.Headers = r.Headers.With("x-forwarded-for", chain).With("x-envoy-external-address", client)
}

// clientCertificate settles the x-forwarded-client-cert header. What depends
// on the bytes of a certificate (its hash) is empty here.
// Source: "x-forwarded-client-cert" of Envoy's documentation.
func (w *walk) clientCertificate(m *hcm.HttpConnectionManager) {
	const name = "x-forwarded-client-cert"
	mode := m.GetForwardClientCertDetails()
	if mode == hcm.HttpConnectionManager_ALWAYS_FORWARD_ONLY {
		return
	}
	r := &w.out.Request
	if _, sent := r.Headers.Get(name); sent && (mode == hcm.HttpConnectionManager_SANITIZE || w.identity() == "") {
		r.Headers = r.Headers.With(name)
	}
	if w.identity() == "" {
		return
	}
	element := certificateParts(m.GetSetCurrentClientCertDetails(), w.identity())
	switch mode {
	case hcm.HttpConnectionManager_APPEND_FORWARD:
		if old, ok := r.Headers.Get(name); ok {
			element = old + "," + element
		}
		r.Headers = r.Headers.With(name, element)
	case hcm.HttpConnectionManager_SANITIZE_SET:
		r.Headers = r.Headers.With(name, element)
	}
}

// identity is the URI of the client's certificate; "" when it shows none.
func (w walk) identity() string {
	if w.call.TLS == nil {
		return ""
	}
	return w.call.TLS.Identity
}

// escapedSlashes handles %2F, %2f, %5C and %5c in a path.
func escapedSlashes(bare string, action hcm.HttpConnectionManager_PathWithEscapedSlashesAction) (string, int, error) {
	unescaped := urlpath.Unslash(bare)
	switch action {
	case hcm.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT, hcm.HttpConnectionManager_KEEP_UNCHANGED:
		return bare, 0, nil
	case hcm.HttpConnectionManager_REJECT_REQUEST:
		if unescaped != bare {
			return bare, 400, nil
		}
		return bare, 0, nil
	case hcm.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		return unescaped, 0, nil
	case hcm.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		if unescaped != bare {
			return bare, 307, nil // to itself, decoded
		}
		return bare, 0, nil
	}
	return bare, 0, unknown("path_with_escaped_slashes_action %v", action)
}

// cutPort splits "host:port"; ok is false when there is no port.
func cutPort(host string) (name, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") || i < strings.LastIndexByte(host, ']') {
		return host, "", false
	}
	if _, err := strconv.ParseUint(host[i+1:], 10, 16); err != nil {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}

// filters runs the HTTP filters in order; the router ends the chain.
func (w walk) filters(rest []*hcm.HttpFilter) ([]Outcome, error) {
	if len(rest) == 0 {
		return nil, fmt.Errorf("the HTTP filter chain has no router")
	}
	f, rest := rest[0], rest[1:]
	if err := checkKnown(f); err != nil {
		return nil, err
	}
	config, err := unpacked(f.GetTypedConfig())
	if err != nil {
		return nil, fmt.Errorf("HTTP filter %s: %w", f.GetName(), err)
	}
	next := func(w walk) ([]Outcome, error) { return w.filters(rest) }
	switch config := config.(type) {
	case *router.Router:
		w.quiet = config.GetSuppressEnvoyHeaders()
		return w.router()
	case *grpcstats.FilterConfig, *setfilterstate.Config:
		return next(w)
	case *askedhttp.FilterConfig:
		w.looked = true
		return next(w)
	case *fault.HTTPFault:
		if f.GetDisabled() && !w.overridden(f.GetName()) {
			return next(w)
		}
		return w.fault(f.GetName(), config, next)
	case *cors.Cors:
		return w.cors(f.GetName(), next)
	case *mutation.HeaderMutation:
		if f.GetDisabled() && !w.overridden(f.GetName()) {
			return next(w)
		}
		return w.mutate(f.GetName(), config, next)
	case *stateful.StatefulSession:
		return next(w) // an endpoint of the same cluster
	case *grpcweb.GrpcWeb:
		return w.grpcWeb(next)
	case *rbachttp.RBAC:
		return w.rbacHTTP(config, next)
	case *extauthz.ExtAuthz:
		return w.extAuthz(config, next)
	case *jwt.JwtAuthentication:
		return w.jwt(config, next)
	}
	if f.GetDisabled() && !w.overridden(f.GetName()) {
		return next(w)
	}
	return nil, unknown("HTTP filter %s of type %T", f.GetName(), config)
}

func (w walk) overridden(filter string) bool {
	m, err := w.perRoute(filter)
	return m != nil || err != nil
}

// perRoute is the most specific configuration of filter on the request's way;
// nil when there is none.
func (w walk) perRoute(filter string) (proto.Message, error) {
	if w.route == nil {
		return nil, nil
	}
	if w.weighted != nil {
		return nil, fmt.Errorf("perRoute is asked after the cluster was chosen")
	}
	if action := w.route.GetRoute().GetWeightedClusters(); action != nil {
		for _, c := range action.GetClusters() {
			if len(c.GetTypedPerFilterConfig()) > 0 {
				return nil, unknown("typed_per_filter_config of a weighted cluster")
			}
		}
	}
	for _, level := range []interface {
		GetTypedPerFilterConfig() map[string]*anypb.Any
	}{w.route, w.vhost, w.table} {
		if config := level.GetTypedPerFilterConfig()[filter]; config != nil {
			m, err := unpacked(config)
			if err != nil {
				return nil, fmt.Errorf("typed_per_filter_config of %s: %w", filter, err)
			}
			if wrapped, ok := m.(*route.FilterConfig); ok {
				return nil, unknown("FilterConfig %v", wrapped)
			}
			return m, nil
		}
	}
	return nil, nil
}

// inline is a data source that is written in the configuration.
func inline(d *core.DataSource) (string, error) {
	switch s := d.GetSpecifier().(type) {
	case nil:
		return "", nil
	case *core.DataSource_InlineString:
		return s.InlineString, nil
	case *core.DataSource_InlineBytes:
		return string(s.InlineBytes), nil
	}
	return "", unknown("data source %T", d.GetSpecifier())
}
