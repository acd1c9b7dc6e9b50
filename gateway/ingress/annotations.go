package ingress

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
)

const nginx = "nginx.ingress.kubernetes.io/"

// settings are what the annotations of one Ingress ask for. The zero value is
// ingress-nginx's default.
type settings struct {
	rewrite         string
	regex           bool
	keepHTTP        bool // ssl-redirect: "false"
	forceHTTPS      bool
	redirect        redirect
	appRoot         string
	cors            bool
	corsOrigins     []string
	corsMethods     []string
	corsHeaders     []string
	corsExpose      []string
	corsRefuseCreds bool
	corsAge         time.Duration
	timeout         time.Duration
	connect         time.Duration
	retryOn         []string
	noRetry         bool
	tries           int
	protocol        string // "", HTTP, HTTPS, GRPC or GRPCS
	authority       string
	aliases         []string
	cookie          string // of session affinity
	cookiePath      string
	cookieAge       time.Duration
	affinity        bool
	canary          canary
}

// redirect is where all requests are sent; code 0 is none.
type redirect struct {
	code     uint32
	url      *url.URL
	keepPath bool // it ended with $request_uri
}

// canary is which of the requests of another Ingress's path are this one's.
type canary struct {
	on            bool
	weight, total int
	header        string
	value         string
	pattern       string
	cookie        string
}

// reader reads one annotation into settings.
type reader struct {
	*settings
	d    *diag.List
	name string // of the annotation
}

func (r *reader) at() diag.Path { return diag.Path("metadata.annotations").Key(r.name) }

func (r *reader) cannot(format string, args ...any) {
	r.d.Add(diag.CannotConvert, r.at(), format, args...)
}

func (r *reader) differs(format string, args ...any) {
	r.d.Add(diag.NotAsBefore, r.at(), format, args...)
}

func (r *reader) seconds(v string, to *time.Duration) {
	n, err := strconv.Atoi(strings.TrimSuffix(v, "s"))
	if err != nil || n < 0 || n > 1<<24 {
		r.cannot("%q is not a number of seconds", v)
		return
	}
	*to = time.Duration(n) * time.Second
}

func (r *reader) number(v string, most int, to *int) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > most {
		r.cannot("%q is not a number from 0 to %d", v, most)
		return
	}
	*to = n
}

func (r *reader) flag(v string, to *bool) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		r.cannot("%q is neither true nor false", v)
		return
	}
	*to = b
}

func (r *reader) not(v string, to *bool) {
	b := true
	r.flag(v, &b)
	*to = !b
}

func list(v string) (out []string) {
	for _, word := range strings.Split(v, ",") {
		if word = strings.TrimSpace(word); word != "" && !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// translated are the annotations of ingress-nginx that have a meaning here.
func translated() map[string]func(r *reader, v string) {
	return map[string]func(r *reader, v string){
		"rewrite-target":            (*reader).rewriteTarget,
		"use-regex":                 func(r *reader, v string) { r.flag(v, &r.regex) },
		"ssl-redirect":              func(r *reader, v string) { r.not(v, &r.keepHTTP) },
		"force-ssl-redirect":        func(r *reader, v string) { r.flag(v, &r.forceHTTPS) },
		"permanent-redirect":        func(r *reader, v string) { r.redirectTo(v, 301) },
		"permanent-redirect-code":   func(*reader, string) {}, // read with permanent-redirect
		"temporal-redirect":         func(r *reader, v string) { r.redirectTo(v, 302) },
		"app-root":                  (*reader).appRootAt,
		"enable-cors":               func(r *reader, v string) { r.flag(v, &r.cors) },
		"cors-allow-origin":         func(r *reader, v string) { r.corsOrigins = list(v) },
		"cors-allow-methods":        func(r *reader, v string) { r.corsMethods = list(v) },
		"cors-allow-headers":        func(r *reader, v string) { r.corsHeaders = list(v) },
		"cors-expose-headers":       func(r *reader, v string) { r.corsExpose = list(v) },
		"cors-allow-credentials":    func(r *reader, v string) { r.not(v, &r.corsRefuseCreds) },
		"cors-max-age":              func(r *reader, v string) { r.seconds(v, &r.corsAge) },
		"proxy-read-timeout":        (*reader).readTimeout,
		"proxy-connect-timeout":     func(r *reader, v string) { r.seconds(v, &r.connect) },
		"proxy-next-upstream":       (*reader).nextUpstream,
		"proxy-next-upstream-tries": func(r *reader, v string) { r.number(v, 100, &r.tries) },
		"backend-protocol":          (*reader).backendProtocol,
		"upstream-vhost":            (*reader).upstreamHost,
		"server-alias":              (*reader).serverAlias,
		"affinity":                  (*reader).affinityBy,
		"affinity-mode":             (*reader).affinityMode,
		"session-cookie-name":       func(r *reader, v string) { r.cookie = v },
		"session-cookie-path":       func(r *reader, v string) { r.cookiePath = v },
		"session-cookie-max-age":    func(r *reader, v string) { r.seconds(v, &r.cookieAge) },
		"session-cookie-expires":    func(r *reader, v string) { r.seconds(v, &r.cookieAge) },
		"canary":                    func(r *reader, v string) { r.flag(v, &r.canary.on) },
		"canary-weight":             func(r *reader, v string) { r.number(v, 1<<20, &r.canary.weight) },
		"canary-weight-total":       func(r *reader, v string) { r.number(v, 1<<20, &r.canary.total) },
		"canary-by-header":          func(r *reader, v string) { r.canary.header = v },
		"canary-by-header-value":    func(r *reader, v string) { r.canary.value = v },
		"canary-by-header-pattern":  (*reader).canaryPattern,
		"canary-by-cookie":          func(r *reader, v string) { r.canary.cookie = v },
		"websocket-services":        func(*reader, string) {}, // upgrades are always allowed
		"use-proxy-protocol": func(r *reader, _ string) {
			r.differs("PROXY protocol is a setting of the gateway's Service, not of a route")
		},
		"proxy-send-timeout": func(r *reader, _ string) {
			r.differs("there is no limit between two writes of a request; it is left out")
		},
		"proxy-request-buffering": func(r *reader, v string) { r.unless(v, "off", "requests are streamed, never buffered") },
		"proxy-buffering":         func(r *reader, v string) { r.unless(v, "off", "answers are streamed, never buffered") },
		"preserve-trailing-slash": func(*reader, string) {}, // paths are not changed here
		"enable-access-log": func(r *reader, _ string) {
			r.differs("access logs are a setting of the mesh (Telemetry, MeshConfig accessLogFile)")
		},
		"proxy-body-size":          func(r *reader, v string) { r.unless(v, "0", "bodies have no limit here: %q is left out", v) },
		"proxy-http-version":       func(*reader, string) {}, // the Service's port says the protocol
		"load-balance":             func(r *reader, v string) { r.differs("%q is left out: a DestinationRule's loadBalancer says it", v) },
		"connection-proxy-header":  func(*reader, string) {}, // upgrades need no such header here
		"proxy-buffer-size":        func(r *reader, _ string) { r.differs("answers are streamed: there is no such buffer") },
		"proxy-buffers-number":     func(r *reader, _ string) { r.differs("answers are streamed: there is no such buffer") },
		"proxy-max-temp-file-size": func(r *reader, _ string) { r.differs("answers are streamed: nothing is written to files") },
		"client-body-buffer-size":  func(r *reader, _ string) { r.differs("requests are streamed: there is no such buffer") },
		"service-upstream": func(r *reader, v string) {
			r.unless(v, "false", "pods are called, not the Service's address: load is spread here")
		},
		"server-snippet":        (*reader).guarded,
		"configuration-snippet": (*reader).guarded,
	}
}

// guards are those, by prefix, that protect what is behind them: without them
// more would be let in.
var guards = []string{"auth-", "whitelist-", "allowlist-", "denylist-", "limit-", "modsecurity-", "enable-modsecurity", "enable-owasp", "satisfy", "ssl-passthrough", "global-rate-limit"}

// bookkeeping are annotations of programs that have nothing to do with requests.
var bookkeeping = []string{"kubectl.kubernetes.io/", "meta.helm.sh/", "helm.sh/", "kubernetes.io/ingress.class", "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "field.cattle.io/", "deployment.kubernetes.io/"}

// readAnnotations reads all of them. One that is not translated is reported by
// its name.
func readAnnotations(in map[string]string, d *diag.List) settings {
	var s settings
	table := translated()
	for _, name := range slices.Sorted(maps.Keys(in)) {
		r := &reader{settings: &s, d: d, name: name}
		short, ours := strings.CutPrefix(name, nginx)
		starts := func(p string) bool { return strings.HasPrefix(short, p) }
		switch {
		case ours && table[short] != nil:
			table[short](r, strings.TrimSpace(in[name]))
		case ours && slices.ContainsFunc(guards, starts):
			r.guarded(in[name])
		case slices.ContainsFunc(bookkeeping, func(p string) bool { return strings.HasPrefix(name, p) }):
		default:
			d.Add(diag.NotConverted, r.at(), "annotation %s: %.80q is not translated", name, in[name])
		}
	}
	if code := in[nginx+"permanent-redirect-code"]; code != "" && s.redirect.code == 301 {
		r := &reader{settings: &s, d: d, name: nginx + "permanent-redirect-code"}
		if !slices.Contains([]string{"301", "302", "303", "307", "308"}, code) {
			r.cannot("%q is not the status of a redirect", code)
		} else if n, err := strconv.Atoi(code); err == nil {
			s.redirect.code = uint32(n)
		}
	}
	return s
}

func (r *reader) guarded(string) {
	r.cannot("annotation %s is not translated: without it requests are treated otherwise, or let in that were not", r.name)
}

func (r *reader) unless(v, harmless, format string, args ...any) {
	if v != harmless {
		r.differs(format, args...)
	}
}

var (
	capture  = regexp.MustCompile(`\$([0-9])`)
	variable = regexp.MustCompile(`\$([A-Za-z_{]|$)`)
)

func (r *reader) rewriteTarget(v string) {
	if v == "" || v[0] != '/' || variable.MatchString(v) || strings.ContainsAny(v, "?\\ \"") {
		r.cannot("%q is not a path with groups such as $1; the path is not rewritten", v)
		return
	}
	r.rewrite = v
}

func (r *reader) appRootAt(v string) {
	if !strings.HasPrefix(v, "/") || strings.ContainsAny(v, "$ ") {
		r.cannot("%q is not a path", v)
		return
	}
	r.appRoot = v
}

func (r *reader) redirectTo(v string, code uint32) {
	if r.redirect.code != 0 {
		return // ingress-nginx knows one; permanent goes before temporal
	}
	text, keep := strings.CutSuffix(v, "$request_uri")
	to, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsAny(text, "$ ") || text == "":
		r.cannot("%q is not a URL, or has variables other than a $request_uri at its end; requests are not redirected", v)
		return
	case to.Host != "" && (hostname.Check(to.Hostname()) != nil || to.Scheme == ""):
		r.cannot("%q has no host and scheme to go to", v)
		return
	case keep && to.Path != "" && to.Path != "/":
		r.cannot("%q: a path before $request_uri cannot be put in", v)
		return
	case to.Host == "" && (keep || !strings.HasPrefix(to.Path, "/")):
		r.cannot("%q leads nowhere else", v)
		return
	}
	if to.Fragment != "" || to.RawQuery != "" {
		r.differs("the query and fragment of %q are left out", v)
	}
	r.redirect = redirect{code: code, url: to, keepPath: keep}
}

func (r *reader) readTimeout(v string) {
	r.seconds(v, &r.timeout)
	r.differs("%s s between two reads of an answer become %s s for the whole of it", v, v)
}

// conditions are proxy_next_upstream's, as Envoy's.
var conditions = map[string][]string{
	"error": {"connect-failure", "refused-stream", "reset"}, "timeout": {"connect-failure", "reset"}, "invalid_header": {"reset"},
	"http_500": {"500"}, "http_502": {"502"}, "http_503": {"503"}, "http_504": {"504"}, "http_403": {"403"}, "http_404": {"404"}, "http_429": {"429"},
}

func (r *reader) nextUpstream(v string) {
	idempotent := true
	for _, word := range strings.Fields(v) {
		switch {
		case word == "off":
			r.noRetry = true
		case word == "non_idempotent":
			idempotent = false
		case conditions[word] == nil:
			r.cannot("%q is not a condition of it", word)
		}
		for _, c := range conditions[word] {
			if !slices.Contains(r.retryOn, c) {
				r.retryOn = append(r.retryOn, c)
			}
		}
	}
	if idempotent && len(r.retryOn) > 0 {
		r.differs("POST, LOCK and PATCH are repeated too, which nginx does not without non_idempotent")
	}
}

func (r *reader) backendProtocol(v string) {
	switch v = strings.ToUpper(v); v {
	case "HTTP", "HTTPS", "GRPC", "GRPCS":
		r.protocol = v
	default:
		r.cannot("%q is none of HTTP, HTTPS, GRPC and GRPCS", v)
	}
}

func (r *reader) upstreamHost(v string) {
	if hostname.Check(v) != nil {
		r.cannot("%q is not a host", v)
		return
	}
	r.authority = v
}

func (r *reader) serverAlias(v string) {
	for _, host := range list(v) {
		if host = strings.ToLower(host); hostname.Check(strings.TrimPrefix(host, "*.")) != nil {
			r.cannot("%q is not a host name (a pattern is not translated)", host)
			continue
		}
		r.aliases = append(r.aliases, host)
	}
}

func (r *reader) affinityBy(v string) {
	if v != "cookie" {
		r.cannot("%q is not cookie", v)
		return
	}
	r.affinity = true
}

func (r *reader) affinityMode(v string) {
	if v != "balanced" {
		r.differs("%q: here a pod that joins takes over a part of the sessions, as in mode balanced", v)
	}
}

func (r *reader) canaryPattern(v string) {
	if _, err := regexp.Compile(v); err != nil {
		r.cannot("%q is not a regular expression of RE2: %v", v, err)
		return
	}
	r.canary.pattern = v
}
