package simulate

import (
	"maps"
	"slices"
	"time"

	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	extauthz "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extauthzbytes "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// Authorizer is how an external one answers. The zero value allows.
type Authorizer struct {
	Status int // 0 and 200 allow; 5xx over HTTP is an error, all else denies
	// Headers are those of its answer; over gRPC they are for the request that is
	// allowed, or for the answer to one that is denied.
	Headers Headers
	// Response are headers, over gRPC, for the answer to what is allowed.
	Response Headers
	Body     string
	Delay    time.Duration
	Refuse   bool // it takes no connection
}

// Check is what an external authorizer was asked.
type Check struct {
	Cluster string
	// Request as it was shown to it; of a connection nothing.
	Request Request
	Body    string
	Bytes   bool // the body came as bytes, not as text
}

// said is an authorizer's verdict.
type said int

const (
	saidYes said = iota
	saidNo
	saidNothing
)

// ask puts a question to the authorizer behind a cluster.
func (w *walk) ask(name string, timeout time.Duration, over bool, c Check) (said, Authorizer, error) {
	targets, found, err := w.targets(name)
	if err != nil {
		return saidNothing, Authorizer{}, err
	}
	a := w.call.Authorizers[name]
	if !found || len(targets) == 0 || a.Refuse {
		return saidNothing, a, nil
	}
	c.Cluster = name
	w.out.Checks = append(slices.Clone(w.out.Checks), c)
	switch {
	case timeout > 0 && a.Delay >= timeout, over && a.Status/100 == 5:
		return saidNothing, a, nil
	case a.Status == 0 || a.Status == 200:
		return saidYes, a, nil
	}
	return saidNo, a, nil
}

// extAuthz asks an external authorizer about a request.
// Source: envoy.extensions.filters.http.ext_authz.v3.ExtAuthz.
func (w walk) extAuthz(config *extauthz.ExtAuthz, next step) ([]Outcome, error) {
	if err := checkKnown(config); err != nil {
		return nil, err
	}
	if m := config.GetFilterEnabledMetadata(); m != nil {
		if enabled, err := w.matchMetadata(m); err != nil || !enabled {
			if err != nil {
				return nil, err
			}
			return next(w)
		}
	}
	c := Check{}
	if b := config.GetWithRequestBody(); b != nil && w.call.Body != "" {
		if c.Body = w.call.Body; len(c.Body) > int(b.GetMaxRequestBytes()) {
			if !b.GetAllowPartialMessage() {
				return w.local(413, "Payload Too Large"), nil
			}
			c.Body = c.Body[:b.GetMaxRequestBytes()]
		}
		c.Bytes = b.GetPackAsBytes()
	}
	s, answer, err := w.question(config, c)
	if err != nil {
		return nil, err
	}
	switch {
	case s == saidYes:
		return w.granted(config, answer, next)
	case s == saidNo:
		w.denial(config.GetHttpService(), answer)
		return w.with(unauthorized).local(answer.Status, answer.Body), nil
	case config.GetFailureModeAllow():
		return next(w)
	}
	status := int(config.GetStatusOnError().GetCode())
	if status == 0 {
		status = 403
	}
	return w.with(unauthorized).local(status, ""), nil
}

// question shows the request to the authorizer.
func (w *walk) question(config *extauthz.ExtAuthz, c Check) (said, Authorizer, error) {
	r := w.out.Request
	if g := config.GetGrpcService(); g != nil {
		if err := checkKnown(g); err != nil {
			return saidNothing, Authorizer{}, err
		}
		c.Request = Request{Method: r.Method, Host: r.Host, Path: r.Path, Headers: r.Headers}
		return w.ask(g.GetEnvoyGrpc().GetClusterName(), g.GetTimeout().AsDuration(), false, c)
	}
	h := config.GetHttpService()
	if err := checkKnown(h); err != nil {
		return saidNothing, Authorizer{}, err
	}
	c.Bytes = false
	c.Request = Request{Method: r.Method, Host: r.Host, Path: h.GetPathPrefix() + r.Path, Headers: Headers{}}
	for name, values := range r.Headers {
		shown, err := anyOf(config.GetAllowedHeaders().GetPatterns(), func(m *matcher.StringMatcher) (bool, error) { return matchString(m, name) })
		if err != nil {
			return saidNothing, Authorizer{}, err
		}
		if !shown && name != "authorization" {
			values = nil
		}
		c.Request.Headers = c.Request.Headers.With(name, values...)
	}
	for _, v := range h.GetAuthorizationRequest().GetHeadersToAdd() {
		value, err := w.expand(v.GetValue())
		if err != nil {
			return saidNothing, Authorizer{}, err
		}
		c.Request.Headers = c.Request.Headers.With(v.GetKey(), value)
	}
	return w.ask(h.GetServerUri().GetCluster(), h.GetServerUri().GetTimeout().AsDuration(), true, c)
}

// granted brings what the authorizer adds, and chooses the route again where it
// may differ now.
func (w walk) granted(config *extauthz.ExtAuthz, answer Authorizer, next step) ([]Outcome, error) {
	allowed, response := answer.Headers, answer.Response
	if h := config.GetHttpService(); h != nil {
		of := h.GetAuthorizationResponse()
		allowed, response = letThrough(answer.Headers, of.GetAllowedUpstreamHeaders()), letThrough(answer.Headers, of.GetAllowedClientHeadersOnSuccess())
	}
	for name, values := range allowed {
		if len(values) > 0 {
			w.out.Request.Headers = w.out.Request.Headers.With(name, values...)
		}
	}
	for name, values := range response {
		w.out.Response = w.out.Response.With(name, values...)
	}
	if !config.GetClearRouteCache() || len(allowed) == 0 {
		return next(w)
	}
	w.vhost, w.route, w.weighted = nil, nil, nil
	return w.findRoute(next)
}

// denial puts the headers of the authorizer's answer on the proxy's: without a
// list, all.
func (w *walk) denial(h *extauthz.HttpService, answer Authorizer) {
	headers := answer.Headers
	if of := h.GetAuthorizationResponse().GetAllowedClientHeaders(); of != nil {
		headers = letThrough(answer.Headers, of)
		for _, always := range []string{"location", "www-authenticate"} {
			if v, ok := answer.Headers.Get(always); ok {
				headers = headers.With(always, v)
			}
		}
	}
	for name, values := range headers {
		w.out.Response = w.out.Response.With(name, values...)
	}
}

// letThrough are the headers that a list has; the others have no values.
func letThrough(in Headers, of *matcher.ListStringMatcher) Headers {
	out := Headers{}
	for name, values := range in {
		ok, err := anyOf(of.GetPatterns(), func(m *matcher.StringMatcher) (bool, error) { return matchString(m, name) })
		if err != nil || !ok {
			values = nil
		}
		out[name] = values
	}
	return out
}

// extAuthzBytes asks an external authorizer about a connection, once its client
// has sent something.
// Source: envoy.extensions.filters.network.ext_authz.v3.ExtAuthz.
func (w *walk) extAuthzBytes(config *extauthzbytes.ExtAuthz) (allowed bool, err error) {
	if err := checkKnown(config); err != nil {
		return false, err
	}
	enabled, err := w.matchMetadata(config.GetFilterEnabledMetadata())
	if err != nil || !enabled {
		return !enabled, err
	}
	g := config.GetGrpcService()
	if err := checkKnown(g); err != nil {
		return false, err
	}
	s, _, err := w.ask(g.GetEnvoyGrpc().GetClusterName(), g.GetTimeout().AsDuration(), false, Check{})
	return s == saidYes || s == saidNothing && config.GetFailureModeAllow(), err
}

// mark keeps which of the shadow rules takes the call, where later filters look.
func (w *walk) mark(filter, prefix string, rules *rbac.RBAC) error {
	if rules == nil {
		return nil
	}
	_, name, err := w.takes(rules)
	if err != nil || name == "" {
		return err
	}
	next := maps.Clone(w.metadata)
	if next == nil {
		next = map[string]*structpb.Struct{}
	}
	fields := maps.Clone(next[filter].GetFields())
	if fields == nil {
		fields = map[string]*structpb.Value{}
	}
	fields[prefix+"shadow_effective_policy_id"] = structpb.NewStringValue(name)
	next[filter] = &structpb.Struct{Fields: fields}
	w.metadata = next
	return nil
}
