package simulate

import (
	"fmt"
	"strings"

	cors "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	fault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
)

type step = func(walk) ([]Outcome, error)

// fault delays and aborts requests. The most specific configuration replaces
// the filter's own. Source: envoy.extensions.filters.http.fault.v3.
func (w walk) fault(name string, config *fault.HTTPFault, next step) ([]Outcome, error) {
	override, err := w.perRoute(name)
	if err != nil {
		return nil, err
	}
	if override != nil {
		specific, ok := override.(*fault.HTTPFault)
		if !ok {
			return nil, unknown("configuration %T of the fault filter", override)
		}
		config = specific
	}
	if err := checkKnown(config); err != nil {
		return nil, err
	}
	if matched, err := w.matchHeaders(config.GetHeaders()); err != nil || !matched {
		if err != nil {
			return nil, err
		}
		return next(w)
	}
	return w.delay(config, func(w walk) ([]Outcome, error) { return w.abort(config, next) })
}

func (w walk) delay(config *fault.HTTPFault, next step) ([]Outcome, error) {
	d := config.GetDelay()
	if d == nil {
		return next(w)
	}
	if err := checkKnown(d); err != nil {
		return nil, err
	}
	p, err := chance(d.GetPercentage())
	if err != nil {
		return nil, err
	}
	return w.fork(p, func(w walk) ([]Outcome, error) {
		w.out.Delay += d.GetFixedDelay().AsDuration()
		return next(w.with(delayInjected))
	}, next)
}

func (w walk) abort(config *fault.HTTPFault, next step) ([]Outcome, error) {
	a := config.GetAbort()
	if a == nil {
		return next(w)
	}
	if err := checkKnown(a); err != nil {
		return nil, err
	}
	p, err := chance(a.GetPercentage())
	if err != nil {
		return nil, err
	}
	return w.fork(p, func(w walk) ([]Outcome, error) {
		if _, ok := a.GetErrorType().(*fault.FaultAbort_GrpcStatus); ok {
			return w.with(faultInjected).abortGRPC(int(a.GetGrpcStatus()))
		}
		return w.with(faultInjected).local(int(a.GetHttpStatus()), "fault filter abort"), nil
	}, next)
}

// abortGRPC answers with a gRPC status: in the headers of a 200 to a client
// that speaks gRPC. Another gets the 200 alone.
func (w walk) abortGRPC(status int) ([]Outcome, error) {
	kind, _ := w.lookup("content-type")
	if !strings.HasPrefix(kind, "application/grpc") {
		return w.local(200, "fault filter abort"), nil
	}
	w.out.Response = w.out.Response.With("grpc-status", fmt.Sprint(status))
	w.out.Response = w.out.Response.With("grpc-message", "fault filter abort")
	return w.local(200, ""), nil
}

// cors answers preflights and puts the headers on answers to allowed origins.
// Source: envoy.extensions.filters.http.cors.v3, "CORS" of the documentation.
func (w walk) cors(name string, next step) ([]Outcome, error) {
	override, err := w.perRoute(name)
	if err != nil || override == nil {
		if err != nil {
			return nil, err
		}
		return next(w)
	}
	policy, ok := override.(*cors.CorsPolicy)
	if !ok {
		return nil, unknown("configuration %T of the CORS filter", override)
	}
	if err := checkKnown(policy); err != nil {
		return nil, err
	}
	if enabled, err := corsEnabled(policy); err != nil || !enabled {
		if err != nil {
			return nil, err
		}
		return next(w)
	}
	origin, ok := w.lookup("origin")
	if !ok {
		return next(w)
	}
	asked, preflight := w.lookup("access-control-request-method")
	preflight = preflight && asked != "" && w.out.Request.Method == "OPTIONS"
	allowed, err := originAllowed(policy, origin)
	if err != nil {
		return nil, err
	}
	if !allowed {
		if preflight && policy.GetForwardNotMatchingPreflights() != nil && !policy.GetForwardNotMatchingPreflights().GetValue() {
			return w.local(200, ""), nil
		}
		return next(w)
	}
	w.allowOrigin(policy, origin)
	if !preflight {
		if v := policy.GetExposeHeaders(); v != "" {
			w.out.Response = w.out.Response.With("access-control-expose-headers", v)
		}
		return next(w)
	}
	for header, value := range map[string]string{
		"access-control-allow-methods": policy.GetAllowMethods(), "access-control-allow-headers": policy.GetAllowHeaders(),
		"access-control-max-age": policy.GetMaxAge(),
	} {
		if value != "" {
			w.out.Response = w.out.Response.With(header, value)
		}
	}
	return w.local(200, ""), nil
}

func (w *walk) allowOrigin(policy *cors.CorsPolicy, origin string) {
	w.out.Response = w.out.Response.With("access-control-allow-origin", origin)
	if policy.GetAllowCredentials().GetValue() {
		w.out.Response = w.out.Response.With("access-control-allow-credentials", "true")
	}
}

func originAllowed(policy *cors.CorsPolicy, origin string) (bool, error) {
	for _, m := range policy.GetAllowOriginStringMatch() {
		if m.GetExact() == "*" {
			return true, nil
		}
		if matched, err := matchString(m, origin); err != nil || matched {
			return matched, err
		}
	}
	return false, nil
}

func corsEnabled(policy *cors.CorsPolicy) (bool, error) {
	p, err := runtimeChance(policy.GetFilterEnabled())
	if err == nil && p != 0 && p != 1 {
		err = unknown("filter_enabled between 0 and 1")
	}
	return p == 1, err
}

// router sends the request on its way: the end of every HTTP filter chain.
func (w walk) router() ([]Outcome, error) {
	if w.route == nil {
		return w.with(noRoute).local(404, ""), nil
	}
	switch {
	case w.route.GetRedirect() != nil:
		return w.redirect(w.route.GetRedirect())
	case w.route.GetDirectResponse() != nil:
		response := w.route.GetDirectResponse()
		if err := checkKnown(response); err != nil {
			return nil, err
		}
		body, err := inline(response.GetBody())
		if err != nil {
			return nil, err
		}
		if w.out.Response, err = w.editHeaders(w.out.Response, true); err != nil {
			return nil, err
		}
		return w.local(int(response.GetStatus()), body), nil
	case w.route.GetRoute() != nil:
		return w.forward(w.route.GetRoute())
	}
	return nil, unknown("route action %T", w.route.GetAction())
}

// attemptCount puts x-envoy-attempt-count on the request where it is asked
// for.
func (w *walk) attemptCount() {
	if w.vhost.GetIncludeRequestAttemptCount() {
		w.out.Request.Headers = w.out.Request.Headers.With("x-envoy-attempt-count", "1")
	}
}

// status is the answer to an attempt, counted from 1.
func (u Upstream) status(attempt int) int {
	if u.Status == 0 || u.Failures > 0 && attempt > u.Failures {
		return 200
	}
	return u.Status
}

// retriable says whether a policy's retry_on covers an answer.
func retriable(retryOn string, codes []uint32, status int) (bool, error) {
	for condition := range strings.SplitSeq(retryOn, ",") {
		switch strings.TrimSpace(condition) {
		case "5xx":
			if status >= 500 {
				return true, nil
			}
		case "gateway-error":
			if status >= 502 && status <= 504 {
				return true, nil
			}
		case "retriable-4xx":
			if status == 409 {
				return true, nil
			}
		case "retriable-status-codes":
			for _, c := range codes {
				if int(c) == status {
					return true, nil
				}
			}
		case "", "reset", "reset-before-request", "connect-failure", "refused-stream", "envoy-ratelimited", "http3-post-connect-failure",
			"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable", // of resets and gRPC trailers, which an Upstream has not
			"retriable-headers": // of answers by an endpoint's own proxy, which an Upstream has not
		default:
			return false, unknown("retry_on %q", condition)
		}
	}
	return false, nil
}

// grpcWeb turns gRPC-Web into gRPC: what the endpoint sees is a gRPC request.
// The answer is turned back, which its status and headers here do not show.
// Source: "gRPC-Web" of Envoy's documentation.
func (w walk) grpcWeb(next step) ([]Outcome, error) {
	kind, _ := w.lookup("content-type")
	if !strings.HasPrefix(kind, "application/grpc-web") {
		return next(w)
	}
	accept := "identity,deflate,gzip"
	w.out.Request.Headers = w.out.Request.Headers.With("content-type", "application/grpc").With("te", "trailers").With("grpc-accept-encoding", accept)
	return next(w)
}
