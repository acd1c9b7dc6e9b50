package simulate

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	urirewrite "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// defaultTimeout is Envoy's, of a route that names none.
const defaultTimeout = 15 * time.Second

// forward is the route action: choose the cluster, change the request, send
// it.
func (w walk) forward(a *route.RouteAction) ([]Outcome, error) {
	if err := checkKnown(a); err != nil {
		return nil, err
	}
	w.out.Timeout = defaultTimeout
	if t := a.GetTimeout(); t != nil {
		w.out.Timeout = t.AsDuration()
	}
	send := func(name string) ([]Outcome, error) { return w.sendTo(a, name) }
	switch s := a.GetClusterSpecifier().(type) {
	case *route.RouteAction_Cluster:
		return send(s.Cluster)
	case *route.RouteAction_ClusterHeader:
		name, _ := w.lookup(s.ClusterHeader)
		return send(name)
	case *route.RouteAction_WeightedClusters:
		if err := checkKnown(s.WeightedClusters); err != nil {
			return nil, err
		}
		var choices []choice
		for _, c := range s.WeightedClusters.GetClusters() {
			if err := checkKnown(c); err != nil {
				return nil, err
			}
			choices = append(choices, choice{c.GetWeight().GetValue(), func(w walk) ([]Outcome, error) {
				w.weighted = c
				return w.sendTo(a, c.GetName())
			}})
		}
		return w.choose(choices)
	}
	return nil, unknown("cluster specifier %T", a.GetClusterSpecifier())
}

func (w walk) sendTo(a *route.RouteAction, name string) ([]Outcome, error) {
	targets, found, err := w.targets(name)
	if err != nil {
		return nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	if !found {
		w = w.with(noCluster)
		switch a.GetClusterNotFoundResponseCode() {
		case route.RouteAction_NOT_FOUND:
			return w.local(404, ""), nil
		case route.RouteAction_INTERNAL_SERVER_ERROR:
			return w.local(500, ""), nil
		}
		return w.local(503, ""), nil
	}
	w.out.Cluster, w.out.ClusterStat = name, w.config.statOf(name)
	if w.out.Mirrors, err = w.mirrors(a); err != nil {
		return nil, err
	}
	if len(targets) == 0 {
		return w.with(noHealthyUpstream).local(503, "no healthy upstream"), nil
	}
	w.out.Upstreams = targets
	if w.out.Way, err = w.way(w.config.clusters[name], a); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	made := w.cookieMade(a, w.out.Response)
	if err := w.rewrite(a); err != nil {
		return nil, err
	}
	w.out.Response = made
	if err := w.serverNames(w.config.clusters[name]); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	return w.pick(a)
}

// pick forks where one endpoint answers unlike the others.
func (w walk) pick(a *route.RouteAction) ([]Outcome, error) {
	only := func(t Target) bool { return t.Address == w.call.Upstream.Only }
	at := slices.IndexFunc(w.out.Upstreams, only)
	if w.call.Upstream.Only == "" || at >= 0 && len(w.out.Upstreams) == 1 {
		return w.exchange(a)
	}
	others := func(w walk) ([]Outcome, error) {
		w.call.Upstream = Upstream{}
		w.out.Upstreams = normal(slices.DeleteFunc(slices.Clone(w.out.Upstreams), only))
		return w.exchange(a)
	}
	if at < 0 {
		return others(w)
	}
	share := w.out.Upstreams[at].Share
	policy, avoids := w.config.clusters[w.out.Cluster].GetLbPolicy(), len(a.GetRetryPolicy().GetRetryHostPredicate()) > 0
	return w.fork(share, func(w walk) ([]Outcome, error) {
		w.out.Upstreams = normal(w.out.Upstreams[at : at+1])
		if !avoids && policy == cluster.Cluster_RANDOM {
			return w.again(a, share, 1)
		}
		if avoids || policy == cluster.Cluster_ROUND_ROBIN {
			w.call.Upstream.Failures = 1 // another host is asked next
		}
		return w.exchange(a)
	}, others)
}

// again forks at each retry that may find the failing endpoint once more, with
// probability p, or another one.
func (w walk) again(a *route.RouteAction, p float64, failures int) ([]Outcome, error) {
	if failures > int(a.GetRetryPolicy().GetNumRetries().GetValue()) {
		return w.exchange(a)
	}
	return w.fork(p, func(w walk) ([]Outcome, error) { return w.again(a, p, failures+1) }, func(w walk) ([]Outcome, error) {
		w.call.Upstream.Failures = failures
		return w.exchange(a)
	})
}

// rewrite makes the request what the endpoint sees. Headers are changed
// first: their values may quote what the client sent.
func (w *walk) rewrite(a *route.RouteAction) error {
	headers, err := w.editHeaders(w.out.Request.Headers, false)
	if err != nil {
		return err
	}
	r := w.out.Request
	r.Headers = headers
	if host, ok := headers.Get("host"); ok { // a Host edit is an :authority edit
		r.Host, r.Headers = host, headers.With("host")
	}
	if host, ok := headers.Get(":authority"); ok {
		r.Host, r.Headers = host, headers.With(":authority")
	}
	if r.Path, err = w.rewritePath(a); err != nil {
		return err
	}
	before := r.Host
	if r.Host, err = w.rewriteHost(a, r.Host); err != nil {
		return err
	}
	if r.Host != before && a.GetAppendXForwardedHost() {
		r.Headers = r.Headers.With("x-forwarded-host", before)
	}
	w.out.Request = r
	w.attemptCount()
	return nil
}

func (w walk) rewriteHost(a *route.RouteAction, host string) (string, error) {
	if literal := w.weighted.GetHostRewriteLiteral(); literal != "" {
		return literal, nil
	}
	switch s := a.GetHostRewriteSpecifier().(type) {
	case nil:
		return host, nil
	case *route.RouteAction_HostRewriteLiteral:
		return s.HostRewriteLiteral, nil
	case *route.RouteAction_HostRewriteHeader:
		if value, ok := w.lookup(s.HostRewriteHeader); ok && value != "" {
			return value, nil
		}
		return host, nil
	case *route.RouteAction_HostRewritePathRegex:
		return substitute(s.HostRewritePathRegex, barePath(w.out.Request.Path))
	case *route.RouteAction_AutoHostRewrite:
		if !s.AutoHostRewrite.GetValue() {
			return host, nil
		}
		if len(w.out.Upstreams) == 1 {
			name, _, _ := cutPort(w.out.Upstreams[0].Address)
			return name, nil
		}
		return "", unknown("auto_host_rewrite among several endpoints")
	}
	return "", unknown("host rewrite %T", a.GetHostRewriteSpecifier())
}

// rewritePath is the path with the query as the action makes it.
func (w walk) rewritePath(a *route.RouteAction) (string, error) {
	full := w.out.Request.Path
	bare := barePath(full)
	rest := full[len(bare):]
	switch {
	case a.GetPathRewrite() != "":
		return "", unknown("path_rewrite")
	case a.GetPrefixRewrite() != "":
		return w.replacePrefix(bare, a.GetPrefixRewrite()) + rest, nil
	case a.GetRegexRewrite() != nil:
		out, err := substitute(a.GetRegexRewrite(), bare)
		return out + rest, err
	case a.GetPathRewritePolicy() != nil:
		out, err := w.rewriteTemplate(a, bare)
		return out + rest, err
	}
	return full, nil
}

// replacePrefix replaces what the route's match matched: the prefix, or the
// whole path.
func (w walk) replacePrefix(bare, with string) string {
	matched := len(bare)
	switch p := w.route.GetMatch().GetPathSpecifier().(type) {
	case *route.RouteMatch_Prefix:
		matched = len(p.Prefix)
	case *route.RouteMatch_PathSeparatedPrefix:
		matched = len(p.PathSeparatedPrefix)
	}
	return with + bare[min(matched, len(bare)):]
}

func (w walk) rewriteTemplate(a *route.RouteAction, bare string) (string, error) {
	m, err := a.GetPathRewritePolicy().GetTypedConfig().UnmarshalNew()
	if err != nil {
		return "", err
	}
	config, ok := m.(*urirewrite.UriTemplateRewriteConfig)
	if !ok {
		return "", unknown("path rewrite %T", m)
	}
	re, err := pathTemplate(w.route.GetMatch().GetPathMatchPolicy())
	if err != nil {
		return "", err
	}
	return templateName.ReplaceAllStringFunc(config.GetPathTemplateRewrite(), func(name string) string {
		return re.ReplaceAllString(bare, "${"+name[1:len(name)-1]+"}")
	}), nil
}

var (
	templateName = regexp.MustCompile(`\{\w+\}`)
	backslashRef = regexp.MustCompile(`\\(\d)`)
)

// substitute is RE2's global replacement: \N is the Nth group.
func substitute(m *matcher.RegexMatchAndSubstitute, in string) (string, error) {
	re, err := regexp.Compile(m.GetPattern().GetRegex())
	if err != nil {
		return "", err
	}
	with := strings.ReplaceAll(m.GetSubstitution(), "$", "$$")
	return re.ReplaceAllString(in, backslashRef.ReplaceAllString(with, "$${$1}")), nil
}

// mirrors are the clusters that get a copy: the most specific level that has
// any policy decides.
func (w walk) mirrors(a *route.RouteAction) (all []Mirror, err error) {
	policies := a.GetRequestMirrorPolicies()
	if len(policies) == 0 {
		policies = w.vhost.GetRequestMirrorPolicies()
	}
	if len(policies) == 0 {
		policies = w.table.GetRequestMirrorPolicies()
	}
	for _, p := range policies {
		if err := checkKnown(p); err != nil {
			return nil, err
		}
		c, err := runtimeChance(p.GetRuntimeFraction())
		if err != nil {
			return nil, err
		}
		if _, there := w.config.clusters[p.GetCluster()]; there && c > 0 {
			all = append(all, Mirror{Cluster: p.GetCluster(), Chance: c})
		}
	}
	return all, nil
}

// exchange plays the attempts against the call's Upstream. Back-off between
// attempts is left out of the time that passes.
func (w walk) exchange(a *route.RouteAction) ([]Outcome, error) {
	policy := a.GetRetryPolicy()
	if policy == nil {
		policy = w.vhost.GetRetryPolicy()
	}
	attempts := 1
	if policy != nil {
		if err := checkKnown(policy); err != nil {
			return nil, err
		}
		if attempts = 2; policy.GetNumRetries() != nil {
			attempts = 1 + int(policy.GetNumRetries().GetValue())
		}
	}
	total := w.out.Timeout
	if _, limited := w.lookup("grpc-timeout"); limited && a.GetMaxStreamDuration() != nil || a.GetMaxStreamDuration().GetMaxStreamDuration().AsDuration() > 0 {
		return nil, unknown("max_stream_duration %v", a.GetMaxStreamDuration())
	}
	answer, perTry := w.call.Upstream, policy.GetPerTryTimeout().AsDuration()
	if answer.unreachable(w.out.Upstreams) {
		return w.refused(policy), nil
	}
	if w.call.Abandon {
		w.out.Attempts = 1
		return w.with(clientGone).closed("the client has gone away"), nil
	}
	var passed time.Duration
	for attempt := 1; ; attempt++ {
		w.out.Attempts = attempt
		status, took := answer.status(attempt), answer.Delay
		if perTry > 0 && took > perTry {
			status, took = 504, perTry
		}
		if passed += took; total > 0 && passed > total {
			return w.timeout(), nil
		}
		again, err := retriable(policy.GetRetryOn(), policy.GetRetriableStatusCodes(), status)
		if err != nil {
			return nil, err
		}
		if again && attempt < attempts {
			w.out.Backoff += longestWait(policy, attempt)
			continue
		}
		w.out.Status = status
		if again && attempts > 1 {
			w = w.with(retryLimit)
		}
		if w.out.Local = status == 504 && perTry > 0 && answer.Delay > perTry; w.out.Local {
			w = w.with(requestTimeout)
		} else {
			if answer.Report {
				w.out.Response = w.out.Response.With(ReportHeader, Report)
			}
			if !w.quiet {
				w.out.Response = w.out.Response.With("x-envoy-upstream-service-time", strconv.FormatInt(took.Milliseconds(), 10))
			}
			w.out.Response, err = w.editHeaders(w.out.Response, true)
		}
		return w.done(), err
	}
}

// longestWait is the longest that Envoy waits after an attempt: at random, up
// to 1, 3, 7 and so on times the base, and at most ten times.
func longestWait(policy *route.RetryPolicy, attempt int) time.Duration {
	base, most := 25*time.Millisecond, time.Duration(0)
	if b := policy.GetRetryBackOff(); b != nil {
		base, most = b.GetBaseInterval().AsDuration(), b.GetMaxInterval().AsDuration()
	}
	if most == 0 {
		most = 10 * base
	}
	return min(most, base*time.Duration(1<<min(attempt, 10)-1))
}

// refused is a request for which no connection could be made.
func (w walk) refused(policy *route.RetryPolicy) []Outcome {
	if retriesConnect(policy) {
		w = w.with(retryLimit)
	}
	if w.call.Upstream.Hang {
		w.out.Delay += w.config.clusters[w.out.Cluster].GetConnectTimeout().AsDuration()
	}
	w.out.Status, w.out.Local, w.out.Attempts, w.out.Request = 503, true, 0, Request{}
	return w.with(connectionFailure).done()
}

// retriesConnect says whether a policy tries again where no connection could
// be made.
func retriesConnect(policy *route.RetryPolicy) bool {
	if policy.GetNumRetries() != nil && policy.GetNumRetries().GetValue() == 0 {
		return false
	}
	for condition := range strings.SplitSeq(policy.GetRetryOn(), ",") {
		switch strings.TrimSpace(condition) {
		case "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure":
			return true
		}
	}
	return false
}

// timeout is a request that ran out of time: an endpoint has seen it, the
// proxy answered.
func (w walk) timeout() []Outcome {
	w.out.Status, w.out.Local, w.out.Body = 504, true, "upstream request timeout"
	return w.with(requestTimeout).done()
}

// redirect answers with a location. Source:
// envoy.config.route.v3.RedirectAction.
func (w walk) redirect(a *route.RedirectAction) ([]Outcome, error) {
	if err := checkKnown(a); err != nil {
		return nil, err
	}
	statuses := map[route.RedirectAction_RedirectResponseCode]int{
		route.RedirectAction_MOVED_PERMANENTLY: 301, route.RedirectAction_FOUND: 302, route.RedirectAction_SEE_OTHER: 303,
		route.RedirectAction_TEMPORARY_REDIRECT: 307, route.RedirectAction_PERMANENT_REDIRECT: 308,
	}
	status, ok := statuses[a.GetResponseCode()]
	if !ok {
		return nil, unknown("redirect code %v", a.GetResponseCode())
	}
	scheme, host := w.redirectTo(a)
	target, err := w.redirectPath(a)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	w.out.Response = w.out.Response.With("location", scheme+"://"+host+target)
	if w.out.Response, err = w.editHeaders(w.out.Response, true); err != nil {
		return nil, err
	}
	return w.local(status, ""), nil
}

func (w walk) redirectTo(a *route.RedirectAction) (scheme, host string) {
	r := w.out.Request
	scheme = r.Scheme
	if a.GetHttpsRedirect() {
		scheme = "https"
	} else if a.GetSchemeRedirect() != "" {
		scheme = a.GetSchemeRedirect()
	}
	if host = a.GetHostRedirect(); host == "" {
		host = r.Host
		// The port of the request goes where another is named, or where it was
		// the default of a scheme that changes.
		if bare, port, ok := cutPort(host); ok {
			wasDefault := r.Scheme == "http" && port == "80" || r.Scheme == "https" && port == "443"
			if a.GetPortRedirect() != 0 || wasDefault && scheme != r.Scheme {
				host = bare
			}
		}
	}
	if a.GetPortRedirect() != 0 {
		host += ":" + strconv.Itoa(int(a.GetPortRedirect()))
	}
	return scheme, host
}

func (w walk) redirectPath(a *route.RedirectAction) (string, error) {
	full := w.out.Request.Path
	bare := barePath(full)
	query := full[len(bare):]
	if a.GetStripQuery() {
		query = ""
	}
	switch p := a.GetPathRewriteSpecifier().(type) {
	case nil:
		return bare + query, nil
	case *route.RedirectAction_PathRedirect:
		if strings.Contains(p.PathRedirect, "?") {
			return p.PathRedirect, nil
		}
		return p.PathRedirect + query, nil
	case *route.RedirectAction_PrefixRewrite:
		return w.replacePrefix(bare, p.PrefixRewrite) + query, nil
	case *route.RedirectAction_RegexRewrite:
		out, err := substitute(p.RegexRewrite, bare)
		return out + query, err
	}
	return "", unknown("redirect path %T", a.GetPathRewriteSpecifier())
}
