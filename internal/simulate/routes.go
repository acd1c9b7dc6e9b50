package simulate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	urimatch "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// tableOf is the route table of a virtual host resource, named TABLE/HOST.
func tableOf(name string) (string, error) {
	table, _, ok := strings.Cut(name, "/")
	if !ok {
		return "", fmt.Errorf("a virtual host resource is named TABLE/HOST")
	}
	return table, nil
}

// table is the route table of a connection manager; nil when it names one
// that is not there.
func (c *Config) table(m *hcm.HttpConnectionManager) (*route.RouteConfiguration, error) {
	switch s := m.GetRouteSpecifier().(type) {
	case *hcm.HttpConnectionManager_RouteConfig:
		return s.RouteConfig, checkKnown(s.RouteConfig)
	case *hcm.HttpConnectionManager_Rds:
		table := c.routes[s.Rds.GetRouteConfigName()]
		if table == nil {
			return nil, nil
		}
		return table, checkKnown(table)
	}
	return nil, unknown("route specifier %T", m.GetRouteSpecifier())
}

// hosts are the virtual hosts of a table: its own, and those of VHDS.
func (c *Config) hosts(table *route.RouteConfiguration) []*route.VirtualHost {
	all := slices.Clone(table.GetVirtualHosts())
	if table.GetVhds() != nil {
		extra := c.vhosts[table.GetName()]
		for _, name := range slices.Sorted(maps.Keys(extra)) {
			all = append(all, extra[name])
		}
	}
	return all
}

// findRoute sets vhost and route, forking where a runtime fraction does, and
// goes on with next. Without a match next sees a nil route.
func (w walk) findRoute(next step) ([]Outcome, error) {
	vhost, err := w.pickHost()
	if err != nil {
		return nil, fmt.Errorf("route table %q: %w", w.table.GetName(), err)
	}
	if vhost == nil {
		return next(w)
	}
	w.vhost, w.out.VirtualHost = vhost, vhost.GetName()
	if err := checkKnown(vhost); err != nil {
		return nil, err
	}
	if need := vhost.GetRequireTls(); need != route.VirtualHost_NONE && w.out.Request.Scheme != "https" {
		if need != route.VirtualHost_ALL {
			return nil, unknown("require_tls %v", need)
		}
		w.out.Response = w.out.Response.With("location", "https://"+w.out.Request.Host+w.out.Request.Path)
		return w.local(301, ""), nil
	}
	outcomes, err := w.tryRoutes(vhost.GetRoutes(), next)
	if err != nil {
		return nil, fmt.Errorf("route table %q, virtual host %q: %w", w.table.GetName(), vhost.GetName(), err)
	}
	return outcomes, nil
}

// pickHost chooses the virtual host by the Host header: exact names, then the
// longest "*suffix", then the longest "prefix*", then "*".
// Source: envoy.config.route.v3.VirtualHost, field domains.
func (w walk) pickHost() (*route.VirtualHost, error) {
	host := strings.ToLower(w.out.Request.Host)
	if w.table.GetIgnorePortInHostMatching() {
		host, _, _ = cutPort(host)
	}
	var best *route.VirtualHost
	bestRank := 0
	seen := map[string]bool{}
	for _, vhost := range w.config.hosts(w.table) {
		for _, domain := range vhost.GetDomains() {
			domain = strings.ToLower(domain)
			if seen[domain] {
				return nil, fmt.Errorf("domain %q is there twice, which Envoy refuses", domain)
			}
			seen[domain] = true
			if rank := rankDomain(domain, host); rank > bestRank {
				best, bestRank = vhost, rank
			}
		}
	}
	return best, nil
}

// rankDomain is 0 for no match; a higher rank is a better match.
func rankDomain(domain, host string) int {
	const prefix, suffix, exact = 1 << 10, 1 << 20, 1 << 30
	switch {
	case domain == host:
		return exact
	case domain == "*":
		return 1
	case strings.HasPrefix(domain, "*"):
		if len(host) >= len(domain) && strings.HasSuffix(host, domain[1:]) {
			return suffix + len(domain)
		}
	case strings.HasSuffix(domain, "*"):
		if len(host) >= len(domain) && strings.HasPrefix(host, domain[:len(domain)-1]) {
			return prefix + len(domain)
		}
	}
	return 0
}

// tryRoutes finds the first route that matches.
func (w walk) tryRoutes(routes []*route.Route, next step) ([]Outcome, error) {
	for i, r := range routes {
		matched, err := w.matches(r)
		if err != nil {
			return nil, fmt.Errorf("route %d %q: %w", i, r.GetName(), err)
		}
		if !matched {
			continue
		}
		p, err := runtimeChance(r.GetMatch().GetRuntimeFraction())
		if err != nil {
			return nil, err
		}
		return w.fork(p, func(w walk) ([]Outcome, error) {
			w.route, w.out.Route, w.out.StatPrefix = r, r.GetName(), r.GetStatPrefix()
			return next(w)
		}, func(w walk) ([]Outcome, error) { return w.tryRoutes(routes[i+1:], next) })
	}
	return next(w)
}

// matches evaluates all of a route's match but its runtime fraction.
func (w walk) matches(r *route.Route) (bool, error) {
	if err := checkKnown(r); err != nil {
		return false, err
	}
	m := r.GetMatch()
	if err := checkKnown(m); err != nil {
		return false, err
	}
	for _, test := range []func() (bool, error){
		func() (bool, error) { return matchPath(m, barePath(w.out.Request.Path)) },
		func() (bool, error) { return w.matchHeaders(m.GetHeaders()) },
		func() (bool, error) { return matchQuery(m.GetQueryParameters(), w.out.Request.Path) },
		func() (bool, error) { return w.matchCookies(m.GetCookies()) },
		func() (bool, error) { return allOf(m.GetDynamicMetadata(), w.matchMetadata) },
		func() (bool, error) { return m.GetGrpc() == nil || w.grpc(), nil },
		func() (bool, error) { return w.matchTLS(m.GetTlsContext()), nil },
	} {
		if matched, err := test(); err != nil || !matched {
			return false, err
		}
	}
	return true, nil
}

// barePath is a path without query and fragment.
func barePath(p string) string {
	if i := strings.IndexAny(p, "?#"); i >= 0 {
		return p[:i]
	}
	return p
}

func (w walk) grpc() bool {
	kind, _ := w.lookup("content-type")
	return kind == "application/grpc" || strings.HasPrefix(kind, "application/grpc+")
}

func (w walk) matchTLS(m *route.RouteMatch_TlsContextMatchOptions) bool {
	presented := w.identity() != ""
	return (m.GetPresented() == nil || m.GetPresented().GetValue() == presented) &&
		(m.GetValidated() == nil || m.GetValidated().GetValue() == presented)
}

// matchPath evaluates the path specifier of a match on a path without query.
func matchPath(m *route.RouteMatch, bare string) (bool, error) {
	fold := func(s string) string { return s }
	if m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue() {
		fold = strings.ToLower
	}
	switch p := m.GetPathSpecifier().(type) {
	case *route.RouteMatch_Prefix:
		return strings.HasPrefix(fold(bare), fold(p.Prefix)), nil
	case *route.RouteMatch_Path:
		return fold(bare) == fold(p.Path), nil
	case *route.RouteMatch_PathSeparatedPrefix:
		rest, ok := strings.CutPrefix(fold(bare), fold(p.PathSeparatedPrefix))
		return ok && (rest == "" || rest[0] == '/'), nil
	case *route.RouteMatch_SafeRegex:
		return matchRegex(p.SafeRegex, bare)
	case *route.RouteMatch_PathMatchPolicy:
		re, err := pathTemplate(p.PathMatchPolicy)
		return err == nil && re.MatchString(bare), err
	}
	return false, unknown("path specifier %T", m.GetPathSpecifier())
}

// pathTemplate compiles a URI template matcher; its variables are named
// groups. Source: envoy.extensions.path.match.uri_template.v3.
func pathTemplate(config interface{ GetTypedConfig() *anypb.Any }) (*regexp.Regexp, error) {
	m, err := config.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return nil, err
	}
	template, ok := m.(*urimatch.UriTemplateMatchConfig)
	if !ok {
		return nil, unknown("path matcher %T", m)
	}
	return templateRegexp(template.GetPathTemplate())
}

var templatePart = regexp.MustCompile(`\{([a-zA-Z][\w]*)(?:=([^}]*))?\}|\*\*|\*|[^*{}]+`)

// templateRegexp turns "/a/{x}/{y=b/*}/**" into a regular expression. "*" is
// one segment that is not empty, "**" any number of them.
func templateRegexp(template string) (*regexp.Regexp, error) {
	wild := func(glob string) string {
		var out strings.Builder
		for _, m := range templatePart.FindAllString(glob, -1) {
			switch m {
			case "**":
				out.WriteString(`[\w\-.~%!$&'()*+,;:@=/]*`)
			case "*":
				out.WriteString(`[\w\-.~%!$&'()*+,;:@=]+`)
			default:
				out.WriteString(regexp.QuoteMeta(m))
			}
		}
		return out.String()
	}
	var out strings.Builder
	for _, m := range templatePart.FindAllStringSubmatch(template, -1) {
		switch {
		case m[1] == "":
			out.WriteString(wild(m[0]))
		case m[2] == "":
			out.WriteString("(?P<" + m[1] + ">" + wild("*") + ")")
		default:
			out.WriteString("(?P<" + m[1] + ">" + wild(m[2]) + ")")
		}
	}
	return fullMatch(out.String())
}
