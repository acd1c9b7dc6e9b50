package ingress

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
)

// site is what all Ingresses say about one host: one VirtualService.
type site struct {
	host    string // "*" for requests to any host
	aliases []string
	first   *ingress // that names the host; the site is in its namespace
	// places in order of precedence.
	places  []*place
	appRoot string
	// secret is the credential of TLS, "" for none.
	secret string
}

// place is one path of a site.
type place struct {
	*ingress
	in   *input
	kind pathKind
	path string // without a "/" at its end, but for the root, where kind is element
	at   diag.Path
	to   *networkingv1.IngressServiceBackend
	said bool // of a redirect that is left out
	// canaries take a part of the requests.
	canaries []*place
}

type pathKind int

const (
	exact   pathKind = iota
	element          // pathType Prefix: whole elements of the path
	text             // ImplementationSpecific: the path begins with it
	regex            // case-insensitive, from the path's start
)

// sitesOf merges the Ingresses by host, in the order of hosts; that of any host
// is the last.
func sitesOf(in *input) []*site {
	c := &collector{in: in, sites: map[string]*site{}, aliases: map[string]string{}}
	for _, i := range in.ingresses {
		if !i.settings.canary.on {
			c.ingress(i)
		}
	}
	for _, i := range in.ingresses {
		if !i.settings.canary.on {
			c.fallback(i)
		}
	}
	for _, i := range in.ingresses {
		if i.settings.canary.on {
			c.canary(i)
		}
	}
	var out []*site
	for _, s := range c.sites {
		slices.SortStableFunc(s.places, precedence)
		c.credential(s)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *site) int {
		if (a.host == "*") != (b.host == "*") {
			return cmp.Compare(len(b.host), len(a.host))
		}
		return strings.Compare(a.host, b.host)
	})
	return out
}

// precedence: the longer path first, and of two equal ones Exact.
func precedence(a, b *place) int {
	return cmp.Or(cmp.Compare(len(b.path), len(a.path)), cmp.Compare(a.kind, b.kind))
}

// collector finds the site of each host.
type collector struct {
	in      *input
	sites   map[string]*site
	aliases map[string]string // to the site's host
}

// site is that of a host; nil, with a finding, where the host is none.
func (c *collector) site(host string, i *ingress, at diag.Path) *site {
	if host = strings.ToLower(host); host == "" {
		host = "*"
	} else if hostname.Check(strings.TrimPrefix(host, "*.")) != nil {
		i.d.Add(diag.CannotConvert, at, "%q is not a host name", host)
		return nil
	}
	if c.sites[host] == nil {
		c.sites[host] = &site{host: host, first: i}
	}
	return c.sites[host]
}

func (c *collector) ingress(i *ingress) {
	for n, rule := range i.Spec.Rules {
		at := diag.Path("spec.rules").Index(n)
		s := c.site(rule.Host, i, at.Field("host"))
		if s == nil {
			continue
		}
		c.alias(s, i)
		if i.settings.appRoot != "" {
			s.appRoot = cmp.Or(s.appRoot, i.settings.appRoot)
		}
		if rule.HTTP == nil {
			continue
		}
		for m, p := range rule.HTTP.Paths {
			if l := c.place(i, p, at.Field("http.paths").Index(m)); l != nil {
				s.add(l)
			}
		}
	}
}

// alias adds an Ingress's other names to its site. A name is one site's alone.
func (c *collector) alias(s *site, i *ingress) {
	for _, a := range i.settings.aliases {
		taken := c.aliases[a]
		for _, other := range c.in.ingresses {
			taken = cmp.Or(taken, map[bool]string{true: a}[other.names(a)])
		}
		switch {
		case a == s.host || taken == s.host:
		case taken != "":
			i.d.Add(diag.CannotConvert, diag.Path("metadata.annotations").Key(nginx+"server-alias"), "%q stands for host %q already, so not for %q too", a, taken, s.host)
		default:
			c.aliases[a] = s.host
			s.aliases = append(s.aliases, a)
		}
	}
}

// add keeps a place, unless an older Ingress has it.
func (s *site) add(l *place) {
	if old := s.find(l); old != nil {
		l.d.Add(diag.CannotConvert, l.at, "path %q of host %q is taken by Ingress %s, which is older and wins", l.path, s.host, key(old.ingress))
		return
	}
	s.places = append(s.places, l)
}

func (s *site) find(l *place) *place {
	for _, old := range s.places {
		if old.kind == l.kind && old.path == l.path {
			return old
		}
	}
	return nil
}

// place reads one path.
func (c *collector) place(i *ingress, p networkingv1.HTTPIngressPath, at diag.Path) *place {
	l := &place{ingress: i, in: c.in, path: cmp.Or(p.Path, "/"), at: at, kind: text, to: p.Backend.Service}
	if l.path[0] != '/' || strings.ContainsFunc(l.path, func(r rune) bool { return r <= ' ' || r > '~' }) {
		i.d.Add(diag.CannotConvert, at.Field("path"), "%q is not a path: it must begin with / and have printable ASCII alone; its requests get no route", l.path)
		return nil
	}
	if p.PathType != nil {
		l.kind = map[networkingv1.PathType]pathKind{networkingv1.PathTypeExact: exact, networkingv1.PathTypePrefix: element}[*p.PathType]
		if *p.PathType == networkingv1.PathTypeImplementationSpecific {
			l.kind = text
		}
	}
	if i.settings.regex || i.settings.rewrite != "" {
		l.kind = regex
		if _, err := regexp.Compile("(?i)" + l.path + ".*"); err != nil {
			i.d.Add(diag.CannotConvert, at.Field("path"), "%q is not a regular expression of RE2: %v; its requests get no route", l.path, err)
			return nil
		}
	}
	if l.kind == element {
		l.path = cmp.Or(strings.TrimRight(l.path, "/"), "/")
	}
	if l.to == nil && i.settings.redirect.code == 0 {
		i.d.Add(diag.CannotConvert, at.Field("backend"), "only a service can be a backend; the requests are answered 503")
	}
	return l
}

// fallback adds the default backend: for what no path of the Ingress's hosts
// takes, and for all other hosts.
func (c *collector) fallback(i *ingress) {
	if i.Spec.DefaultBackend == nil {
		return
	}
	hosts := []string{"*"}
	for _, r := range i.Spec.Rules {
		hosts = append(hosts, r.Host)
	}
	for _, host := range hosts {
		s := c.site(host, i, "spec.rules")
		if s == nil {
			continue
		}
		l := &place{ingress: i, in: c.in, kind: element, path: "/", at: "spec.defaultBackend", to: i.Spec.DefaultBackend.Service}
		if s.find(l) == nil {
			s.places = append(s.places, l)
		} else if other := s.find(l).ingress; other != i && host == "*" && len(i.Spec.Rules) == 0 {
			i.d.Add(diag.CannotConvert, l.at, "requests to any host are taken by Ingress %s, which is older and wins", key(other))
		}
	}
}

// canary puts an Ingress's paths beside those of the Ingress that it is a
// canary of.
func (c *collector) canary(i *ingress) {
	for n, rule := range i.Spec.Rules {
		host, at := strings.ToLower(cmp.Or(rule.Host, "*")), diag.Path("spec.rules").Index(n)
		if rule.HTTP == nil {
			continue
		}
		for m, p := range rule.HTTP.Paths {
			l := c.place(i, p, at.Field("http.paths").Index(m))
			if l == nil || l.to == nil {
				continue
			}
			if main := c.sites[host].mainOf(l); main != nil {
				main.canaries = append(main.canaries, l)
			} else {
				i.d.Add(diag.CannotConvert, l.at, "no other Ingress has path %q of host %q, so there is nothing that this is a canary of", l.path, host)
			}
		}
	}
}

// mainOf is the place of the same path, whatever its kind: the canary's own
// annotations do not change how the path is matched.
func (s *site) mainOf(l *place) *place {
	if s == nil {
		return nil
	}
	for _, p := range s.places {
		if strings.TrimRight(p.path, "/") == strings.TrimRight(l.path, "/") && p.at != "spec.defaultBackend" {
			return p
		}
	}
	return nil
}

// credential finds the Secret for a site's TLS: that of the exact name before
// one with a wildcard.
func (c *collector) credential(s *site) {
	for _, i := range c.in.ingresses {
		for n, t := range i.Spec.TLS {
			match := len(t.Hosts) == 0 && i.names(s.host)
			better := false
			for _, h := range t.Hosts {
				h = strings.ToLower(h)
				better = better || h == s.host
				match = match || h == s.host || hostname.Covers(h, s.host)
			}
			if !match {
				continue
			}
			if t.SecretName == "" {
				i.d.Add(diag.CannotConvert, diag.Path("spec.tls").Index(n), "it has no secretName, and a Gateway has no default certificate: host %q is not served with TLS by it", s.host)
				continue
			}
			if s.secret == "" || better {
				s.secret = t.SecretName
			}
			if better {
				return
			}
		}
	}
}

func (i *ingress) names(host string) bool {
	return slices.ContainsFunc(i.Spec.Rules, func(r networkingv1.IngressRule) bool {
		return strings.EqualFold(cmp.Or(r.Host, "*"), host)
	})
}
