package ingress

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
)

// gatewayName is that of the Gateway for exact hosts in each namespace.
const gatewayName = "ingress"

// virtualService makes the routes of a site.
func virtualService(s *site, rules *rules) Object {
	vs := &networking.VirtualService{Hosts: append([]string{s.host}, s.aliases...), Gateways: []string{s.gateway()}}
	w := &writer{site: s, rules: rules}
	if s.appRoot != "" {
		vs.Http = append(vs.Http, &networking.HTTPRoute{
			Name: "app-root", Match: w.hosted(uri(exactly("/"))),
			Redirect: &networking.HTTPRedirect{Uri: s.appRoot, RedirectCode: 302},
		})
	}
	secured := s.secret != "" && len(s.places) > 0 && !slices.ContainsFunc(s.places, func(p *place) bool { return !p.secured(s) })
	if secured {
		vs.Http = append(vs.Http, toHTTPS(w.hosted(&networking.HTTPMatchRequest{})))
	}
	for _, p := range s.places {
		if !secured && p.secured(s) {
			vs.Http = append(vs.Http, toHTTPS(w.matches(p)))
		}
		vs.Http = append(vs.Http, w.place(p)...)
	}
	if len(vs.Http) == 0 { // a host without a path: ingress-nginx answers 404
		vs.Http = []*networking.HTTPRoute{{Name: "none", DirectResponse: &networking.HTTPDirectResponse{Status: 404}}}
	}
	return Object{"networking.istio.io/v1", "VirtualService", Metadata{nameOf(s.host), s.first.Namespace}, vs}
}

// nameOf makes an object's name of a host.
func nameOf(host string) string {
	switch {
	case host == "*":
		return "any-host"
	case strings.HasPrefix(host, "*."):
		host = "any." + host[2:]
	}
	return strings.ReplaceAll(host, ".", "-")
}

// secured says whether plain HTTP is redirected: ingress-nginx does so wherever
// there is TLS.
func (p *place) secured(s *site) bool {
	if p.settings.forceHTTPS && s.secret == "" && !p.said {
		p.said = true
		p.d.Add(diag.CannotConvert, diag.Path("metadata.annotations").Key(nginx+"force-ssl-redirect"), "host %q has no TLS here; behind a balancer that ends TLS the redirect would go round in circles, so it is left out", s.host)
	}
	return s.secret != "" && (!p.settings.keepHTTP || p.settings.forceHTTPS)
}

// toHTTPS redirects what comes to the port for plain HTTP, with nginx's status.
func toHTTPS(matches []*networking.HTTPMatchRequest) *networking.HTTPRoute {
	for _, m := range matches {
		m.Port = httpPort
	}
	return &networking.HTTPRoute{Name: "https", Match: matches, Redirect: &networking.HTTPRedirect{Scheme: "https", RedirectCode: 308}}
}

// writer makes the routes of one site.
type writer struct {
	*site
	rules *rules
}

func exactly(v string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: v}}
}

func beginning(v string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: v}}
}

func matching(v string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: v}}
}

func uri(m *networking.StringMatch) *networking.HTTPMatchRequest {
	return &networking.HTTPMatchRequest{Uri: m}
}

// hosted adds what a wildcard means in an Ingress: one label, not several.
func (w *writer) hosted(in ...*networking.HTTPMatchRequest) []*networking.HTTPMatchRequest {
	if rest, wild := strings.CutPrefix(w.host, "*."); wild {
		var names []string
		for _, a := range w.aliases {
			names = append(names, regexp.QuoteMeta(a))
		}
		names = append([]string{`[^.:]+\.` + regexp.QuoteMeta(rest)}, names...)
		for _, m := range in {
			m.Authority = matching("(?i)(" + strings.Join(names, "|") + ")(:[0-9]+)?")
		}
	}
	return in
}

// matches are the requests of a place.
func (w *writer) matches(p *place) []*networking.HTTPMatchRequest {
	switch {
	case p.kind == exact:
		return w.hosted(uri(exactly(p.path)))
	case p.kind == regex:
		return w.hosted(uri(matching("(?i)" + p.path + ".*")))
	case p.kind == element && p.path != "/" && w.find(&place{kind: exact, path: p.path}) != nil:
		return w.hosted(uri(beginning(p.path + "/")))
	case p.kind == element && p.path != "/":
		return w.hosted(uri(exactly(p.path)), uri(beginning(p.path+"/")))
	}
	return w.hosted(uri(beginning(p.path)))
}

// place makes a path's routes: those of its canaries' headers and cookies, then
// the one for the rest.
func (w *writer) place(p *place) (out []*networking.HTTPRoute) {
	main := w.base(p)
	if !p.forwards() {
		main.Match = w.matches(p)
		return append(out, main)
	}
	own := w.rules.destination(p, w.first.Namespace)
	main.Route = []*networking.HTTPRouteDestination{{Destination: own}}
	for _, c := range p.canaries {
		out = append(out, w.canary(p, c, main)...)
	}
	main.Match = w.matches(p)
	w.weigh(p, main)
	return append(out, main)
}

func (p *place) forwards() bool { return p.settings.redirect.code == 0 && p.to != nil }

// base is a route of a place without match and destination.
func (w *writer) base(p *place) *networking.HTTPRoute {
	s := &p.settings
	out := &networking.HTTPRoute{Name: p.Name, CorsPolicy: cors(s)}
	switch {
	case s.redirect.code != 0:
		out.Redirect = redirectRoute(s.redirect)
		return out
	case p.to == nil:
		out.DirectResponse = &networking.HTTPDirectResponse{Status: 503}
		return out
	}
	if s.rewrite != "" {
		out.Rewrite = &networking.HTTPRewrite{UriRegexRewrite: &networking.RegexRewrite{
			Match: "(?i)^" + p.path + ".*$", Rewrite: substitution(p.path, s.rewrite),
		}}
	}
	if s.authority != "" {
		if out.Rewrite == nil {
			out.Rewrite = &networking.HTTPRewrite{}
		}
		out.Rewrite.Authority = s.authority
	}
	if s.timeout > 0 {
		out.Timeout = durationpb.New(s.timeout)
	}
	out.Retries = retries(s)
	return out
}

// substitution is nginx's target in RE2's form. A group that the pattern lacks
// is empty, as in nginx.
func substitution(pattern, target string) string {
	groups := 0
	if re, err := regexp.Compile(pattern); err == nil {
		groups = re.NumSubexp()
	}
	return capture.ReplaceAllStringFunc(target, func(v string) string {
		if int(v[1]-'0') > groups {
			return ""
		}
		return `\` + v[1:]
	})
}

func retries(s *settings) *networking.HTTPRetry {
	switch {
	case s.noRetry || s.tries == 1:
		return &networking.HTTPRetry{Attempts: 0}
	case len(s.retryOn) == 0 && s.tries == 0:
		return nil
	}
	on := s.retryOn
	if len(on) == 0 {
		on = []string{"connect-failure", "refused-stream", "reset"} // nginx: error timeout
	}
	attempts := int32(2) // nginx goes on to any number of servers; so does it by default here
	if s.tries > 1 {
		attempts = int32(s.tries - 1)
	}
	return &networking.HTTPRetry{Attempts: attempts, RetryOn: strings.Join(on, ",")}
}

func redirectRoute(r redirect) *networking.HTTPRedirect {
	out := &networking.HTTPRedirect{RedirectCode: r.code, Scheme: r.url.Scheme, Authority: r.url.Host}
	if !r.keepPath {
		out.Uri = cmp.Or(r.url.EscapedPath(), "/")
	}
	return out
}

// cors has ingress-nginx's defaults.
func cors(s *settings) *networking.CorsPolicy {
	if !s.cors {
		return nil
	}
	methods, headers, origins, age := s.corsMethods, s.corsHeaders, s.corsOrigins, s.corsAge
	if len(methods) == 0 {
		methods = []string{"GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"}
	}
	if len(headers) == 0 {
		headers = list("DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization")
	}
	if age == 0 {
		age = 1728000e9
	}
	if len(origins) == 0 {
		origins = []string{"*"}
	}
	out := &networking.CorsPolicy{
		AllowMethods: methods, AllowHeaders: headers, ExposeHeaders: s.corsExpose,
		AllowCredentials: wrapperspb.Bool(!s.corsRefuseCreds), MaxAge: durationpb.New(age),
	}
	for _, o := range origins {
		if strings.Contains(o, "*") {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(o), `\*`, `[A-Za-z0-9-]+`)
			if o == "*" {
				pattern = ".*"
			}
			out.AllowOrigins = append(out.AllowOrigins, matching(pattern))
		} else {
			out.AllowOrigins = append(out.AllowOrigins, exactly(o))
		}
	}
	return out
}

// canary makes the routes by header and cookie: each says "always" or "never",
// or has the value that is asked for.
func (w *writer) canary(p, c *place, main *networking.HTTPRoute) (out []*networking.HTTPRoute) {
	s := c.settings.canary
	to := []*networking.HTTPRouteDestination{{Destination: w.rules.destination(c, w.first.Namespace)}}
	add := func(name, header string, m *networking.StringMatch, to []*networking.HTTPRouteDestination) {
		r := w.base(p)
		r.Name, r.Route, r.Match = name, to, w.matches(p)
		for _, one := range r.Match {
			one.Headers = map[string]*networking.StringMatch{strings.ToLower(header): m}
		}
		out = append(out, r)
	}
	switch {
	case s.header != "" && s.value != "":
		add(c.Name, s.header, exactly(s.value), to)
	case s.header != "" && s.pattern != "":
		add(c.Name, s.header, matching(".*("+s.pattern+").*"), to)
	case s.header != "":
		add(c.Name, s.header, exactly("always"), to)
		add(p.Name, s.header, exactly("never"), main.Route)
	}
	if s.cookie != "" {
		value := func(v string) *networking.StringMatch {
			return matching(`(.*;\s*)?` + regexp.QuoteMeta(s.cookie) + "=" + v + `(\s*;.*)?`)
		}
		add(c.Name, "cookie", value("always"), to)
		add(p.Name, "cookie", value("never"), main.Route)
	}
	return out
}

// weigh shares what no header has settled.
func (w *writer) weigh(p *place, main *networking.HTTPRoute) {
	for _, c := range p.canaries {
		s := c.settings.canary
		total := cmp.Or(s.total, 100)
		if s.weight == 0 {
			continue
		}
		if len(main.Route) > 1 {
			c.d.Add(diag.CannotConvert, c.at, "a second canary with a weight: ingress-nginx knows one for each path; it is left out")
			continue
		}
		share := min(s.weight, total)
		main.Route[0].Weight = int32(total - share)
		main.Route = append(main.Route, &networking.HTTPRouteDestination{Destination: w.rules.destination(c, w.first.Namespace), Weight: int32(share)})
	}
}

// rules are the DestinationRules, by Service.
type rules struct {
	in *input
	by map[string]*rule
}

// rule is what is asked of one Service.
type rule struct {
	namespace, name string
	ports           map[uint32]*networking.TrafficPolicy_PortTrafficPolicy
}

func newRules(in *input) *rules { return &rules{in: in, by: map[string]*rule{}} }

// destination is the backend of a place, as seen from a namespace, and notes
// what its Service needs.
func (r *rules) destination(p *place, from string) *networking.Destination {
	number := r.in.port(p.ingress, p.to, p.at.Field("backend.service"))
	r.note(p, number)
	out := &networking.Destination{Host: p.to.Name}
	if p.Namespace != from {
		out.Host = fmt.Sprintf("%s.%s.svc.cluster.local", p.to.Name, p.Namespace)
	}
	if number > 0 {
		out.Port = &networking.PortSelector{Number: number}
	}
	return out
}

func (r *rules) note(p *place, port uint32) {
	s := &p.settings
	http2 := strings.HasPrefix(s.protocol, "GRPC") && !r.in.speaksHTTP2(p.Namespace, p.to.Name, port)
	tls := s.protocol == "HTTPS" || s.protocol == "GRPCS"
	if !http2 && !tls && s.connect == 0 && !s.affinity {
		return
	}
	at := p.Namespace + "/" + p.to.Name
	if r.by[at] == nil {
		r.by[at] = &rule{p.Namespace, p.to.Name, map[uint32]*networking.TrafficPolicy_PortTrafficPolicy{}}
	}
	t := r.by[at].ports[port]
	if t == nil {
		t = &networking.TrafficPolicy_PortTrafficPolicy{}
		r.by[at].ports[port] = t
	}
	if http2 || s.connect > 0 {
		t.ConnectionPool = pool(t.ConnectionPool, s, http2)
	}
	if tls && t.Tls == nil {
		t.Tls = &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE, InsecureSkipVerify: wrapperspb.Bool(true)}
		p.d.Add(diag.NotAsBefore, p.at.Field("backend"), "Service %s speaks TLS, and as in nginx its certificate is not checked: give the DestinationRule caCertificates or subjectAltNames, or drop its tls where the pods get sidecars", at)
	}
	if s.affinity {
		t.LoadBalancer = sticky(s)
	}
}

func pool(t *networking.ConnectionPoolSettings, s *settings, http2 bool) *networking.ConnectionPoolSettings {
	if t == nil {
		t = &networking.ConnectionPoolSettings{}
	}
	if s.connect > 0 {
		t.Tcp = &networking.ConnectionPoolSettings_TCPSettings{ConnectTimeout: durationpb.New(s.connect)}
	}
	if http2 {
		t.Http = &networking.ConnectionPoolSettings_HTTPSettings{H2UpgradePolicy: networking.ConnectionPoolSettings_HTTPSettings_UPGRADE}
	}
	return t
}

func sticky(s *settings) *networking.LoadBalancerSettings {
	cookie := &networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie{Name: cmp.Or(s.cookie, "INGRESSCOOKIE"), Path: cmp.Or(s.cookiePath, "/"), Ttl: durationpb.New(s.cookieAge)}
	return &networking.LoadBalancerSettings{LbPolicy: &networking.LoadBalancerSettings_ConsistentHash{ConsistentHash: &networking.LoadBalancerSettings_ConsistentHashLB{
		HashKey: &networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie{HttpCookie: cookie},
	}}}
}

// objects are the DestinationRules. What has no port number is for the whole
// Service.
func (r *rules) objects() (out []Object) {
	for _, at := range slices.Sorted(maps.Keys(r.by)) {
		rule := r.by[at]
		policy := &networking.TrafficPolicy{}
		for _, port := range slices.Sorted(maps.Keys(rule.ports)) {
			t := rule.ports[port]
			if port == 0 {
				policy.ConnectionPool, policy.LoadBalancer, policy.Tls = t.ConnectionPool, t.LoadBalancer, t.Tls
				continue
			}
			t.Port = &networking.PortSelector{Number: port}
			policy.PortLevelSettings = append(policy.PortLevelSettings, t)
		}
		spec := &networking.DestinationRule{Host: rule.name, TrafficPolicy: policy}
		out = append(out, Object{"networking.istio.io/v1", "DestinationRule", Metadata{rule.name, rule.namespace}, spec})
	}
	return out
}
