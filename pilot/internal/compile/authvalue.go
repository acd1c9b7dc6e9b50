package compile

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

var (
	errUnknownAttribute = errors.New("it is no attribute of a condition; those are source.ip, source.principal, request.headers[NAME], request.auth.claims[NAME] and others (Istio's page \"Authorization Policy Conditions\")")
	errEmpty            = errors.New("it is empty")
	errAddress          = errors.New("it is no IP address and no range such as 10.0.0.0/8")
	errPort             = errors.New("it is no port; ports are numbers from 1 to 65535")
	errWildcard         = errors.New("a service account has no wildcard; use principals")
	errTemplate         = errors.New("a path template has {*} for a whole segment and {**} as its last operator, and no other *, { or }")
	errStar             = errors.New("a * stands at the beginning or at the end, or alone; elsewhere it would be taken literally")
	errLong             = errors.New("it is longer than 1,024 bytes")
	errSlash            = errors.New("a / parts the name of a namespace, a trust domain or an account from others; it can never match")
	errScheme           = errors.New("a principal is written without spiffe://; it can never match")
	errRelative         = errors.New("a path begins with / or *; it can never match")
	errRequestPrincipal = errors.New("a request's principal is ISSUER/SUBJECT")
)

// maxAuthValue bounds a value: many become a regular expression, of which
// Envoy takes no program over a limit.
const maxAuthValue = 1024

// value reads one value of an attribute; denying as in values.
func (r *authReader) value(attr model.AuthAttr, text string, denying bool) (out model.AuthValue, err error) {
	switch {
	case text == "":
		return out, errEmpty
	case len(text) > maxAuthValue:
		return out, errLong
	}
	switch attr {
	case model.AuthSourceIP, model.AuthRemoteIP, model.AuthDestinationIP:
		out.Range, err = addressRange(text)
	case model.AuthPort:
		out.Port, err = portNumber(text)
	case model.AuthServiceAccount:
		out.Matches, err = r.account(text)
	case model.AuthRequestPrincipal:
		err = requestPrincipal(text, &out)
	case model.AuthPath:
		out.Matches, err = path(text)
	case model.AuthMetadata:
		inner := text
		if list, ok := strings.CutPrefix(text, "["); ok {
			inner, out.List = strings.CutSuffix(list, "]")
		}
		out.Matches, err = plain(inner, false)
	default:
		out.Matches, err = r.strings(attr, text, denying)
	}
	return out, err
}

// strings are the matches of an attribute that is a string.
func (r *authReader) strings(attr model.AuthAttr, text string, denying bool) ([]model.StringMatch, error) {
	matches, err := plain(text, attr == model.AuthHost)
	if err != nil {
		return nil, err
	}
	switch {
	case attr == model.AuthPrincipal && strings.HasPrefix(text, "spiffe://"):
		return nil, errScheme
	case attr == model.AuthPrincipal:
		return r.principals(text), nil
	case (attr == model.AuthNamespace || attr == model.AuthTrustDomain) && strings.Contains(text, "/"):
		return nil, errSlash
	case attr == model.AuthNamespace:
		return spiffeIDs("[^/]+", segment(text), "sa/.+"), nil
	case attr == model.AuthTrustDomain:
		return r.domains(text), nil
	case attr == model.AuthHost && denying:
		return anyForm(matches[0]), nil
	case attr == model.AuthHost:
		return withPort(matches[0]), nil
	case attr == model.AuthHeader && denying:
		return inList(matches[0]), nil
	}
	return matches, nil
}

// plain reads Istio's exact, "prefix*", "*suffix" and "*" (any that is not
// empty).
func plain(text string, ignoreCase bool) ([]model.StringMatch, error) {
	m := model.StringMatch{Kind: model.MatchExact, Value: text, IgnoreCase: ignoreCase}
	switch {
	case text == "*":
		m = model.StringMatch{Kind: model.MatchPresent}
	case strings.HasPrefix(text, "*"):
		m.Kind, m.Value = model.MatchSuffix, text[1:]
	case strings.HasSuffix(text, "*"):
		m.Kind, m.Value = model.MatchPrefix, text[:len(text)-1]
	}
	if strings.Contains(m.Value, "*") && m.Kind != model.MatchExact {
		return nil, errStar
	}
	return []model.StringMatch{m}, nil
}

// principals are those of the mesh's trust domains where the value names one of
// them, or cluster.local, which stands for the mesh's own.
// Source: Istio's page "Trust Domain Migration".
func (r *authReader) principals(text string) (out []model.StringMatch) {
	if text == "*" {
		return []model.StringMatch{{Kind: model.MatchPresent}}
	}
	if suffix, ok := strings.CutPrefix(text, "*"); ok {
		return []model.StringMatch{{Kind: model.MatchRegex, Value: "spiffe://.*" + regexp.QuoteMeta(suffix)}}
	}
	all := []string{text}
	if domain, rest, ok := strings.Cut(text, "/"); ok && r.own(domain) {
		all = nil
		for _, td := range r.trustDomains() {
			all = append(all, td+"/"+rest)
		}
	}
	for _, id := range all {
		m := model.StringMatch{Kind: model.MatchExact, Value: "spiffe://" + id}
		if prefix, ok := strings.CutSuffix(m.Value, "*"); ok {
			m.Kind, m.Value = model.MatchPrefix, prefix
		}
		out = append(out, m)
	}
	return out
}

// own reports whether a trust domain is the mesh's, by any of its names.
func (r *authReader) own(domain string) bool {
	return domain == meshDomain || slices.Contains(r.trustDomains(), domain)
}

func (r *authReader) trustDomains() []string {
	return append([]string{r.trust.TrustDomain}, r.trust.TrustAliases...)
}

func (r *authReader) domains(text string) (out []model.StringMatch) {
	all := []string{text}
	if r.own(text) {
		all = r.trustDomains()
	}
	for _, td := range all {
		out = append(out, spiffeIDs(segment(td), "[^/]+", "sa/.+")...)
	}
	return out
}

// account reads "NAMESPACE/NAME", or "NAME" in the policy's own namespace.
func (r *authReader) account(text string) ([]model.StringMatch, error) {
	if strings.Contains(text, "*") {
		return nil, errWildcard
	}
	namespace, name, ok := strings.Cut(text, "/")
	if !ok {
		namespace, name = r.policy.Namespace, text
	}
	if namespace == "" || name == "" || strings.Contains(name, "/") {
		return nil, errSlash
	}
	return spiffeIDs("[^/]+", regexp.QuoteMeta(namespace), "sa/"+regexp.QuoteMeta(name)), nil
}

// spiffeIDs are the SPIFFE URIs whose parts match these patterns; nothing that
// a part holds reaches beyond it.
func spiffeIDs(domain, namespace, rest string) []model.StringMatch {
	return []model.StringMatch{{Kind: model.MatchRegex, Value: "spiffe://" + domain + "/ns/" + namespace + "/" + rest}}
}

// segment is the pattern of a text with "*" in one part of an identity.
func segment(text string) string {
	if text == "*" {
		return "[^/]+"
	}
	return strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, "[^/]*")
}

// withPort lets a host that names no port take the same host with any port: a
// client may always add one.
func withPort(m model.StringMatch) []model.StringMatch {
	switch {
	case namesPort(m.Value):
	case m.Kind == model.MatchExact:
		return []model.StringMatch{m, {Kind: model.MatchPrefix, Value: m.Value + ":", IgnoreCase: true}}
	case m.Kind == model.MatchSuffix:
		return []model.StringMatch{{Kind: model.MatchRegex, Value: "(?i).*" + regexp.QuoteMeta(m.Value) + "(:[0-9]*)?"}}
	}
	return []model.StringMatch{m}
}

// anyForm lets a host that is to be denied be denied in every form that a
// server may take for it: with any port, with dots at its end, after a user.
func anyForm(m model.StringMatch) []model.StringMatch {
	switch {
	case m.Kind == model.MatchExact && !namesPort(m.Value):
		return []model.StringMatch{m, {Kind: model.MatchRegex, Value: "(?i)(.*@)?" + regexp.QuoteMeta(m.Value) + `\.*(:.*)?`}}
	case m.Kind == model.MatchSuffix && !namesPort(m.Value):
		return []model.StringMatch{{Kind: model.MatchRegex, Value: "(?i).*" + regexp.QuoteMeta(m.Value) + `\.*(:.*)?`}}
	}
	return []model.StringMatch{m}
}

// namesPort reports whether a host ends in ":80" or the like; an IPv6 address in
// brackets has colons of its own.
func namesPort(host string) bool {
	return strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']')
}

// inList lets a header that is to be denied be denied as one of several, which
// a client writes as one line with commas or as several lines.
func inList(m model.StringMatch) []model.StringMatch {
	quoted := regexp.QuoteMeta(m.Value)
	switch {
	case m.Kind == model.MatchExact:
		return []model.StringMatch{m, {Kind: model.MatchRegex, Value: `(.*,)?[ \t]*` + quoted + `[ \t]*(,.*)?`}}
	case m.Kind == model.MatchPrefix:
		return []model.StringMatch{{Kind: model.MatchRegex, Value: `(.*,[ \t]*)?` + quoted + `.*`}}
	case m.Kind == model.MatchSuffix:
		return []model.StringMatch{{Kind: model.MatchRegex, Value: `.*` + quoted + `([ \t]*,.*)?`}}
	}
	return []model.StringMatch{m}
}

func addressRange(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errAddress
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 { // as Envoy has it of a connection
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func portNumber(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errPort
	}
	return uint32(n), nil
}

// requestPrincipal reads "ISSUER/SUBJECT", each with a "*" as plain has it. The
// issuer may be a URL: the last slash parts them.
// Source: istio.io/api security/v1beta1, Source.requestPrincipals.
func requestPrincipal(text string, out *model.AuthValue) error {
	at := strings.LastIndexByte(text, '/')
	issuer, subject := text, text
	if at >= 0 {
		issuer, subject = text[:at], text[at+1:]
	}
	switch {
	case text == "*":
		subject, issuer = "*", "*"
	case at >= 0:
	case strings.HasPrefix(text, "*"):
		issuer = "*"
	case strings.HasSuffix(text, "*"):
		subject = "*"
	default:
		return errRequestPrincipal
	}
	for _, part := range []struct {
		text string
		to   **model.StringMatch
	}{{issuer, &out.Issuer}, {subject, &out.Subject}} {
		if part.text == "" {
			return errRequestPrincipal
		}
		m, err := plain(part.text, false)
		if err != nil {
			return err
		}
		*part.to = &m[0]
	}
	return nil
}

// path reads a path, or a template of one. A template is a regular expression
// and not Envoy's URI template, whose "*" leaves out characters that a path may
// have, such as "*" itself: by one of them a request would walk past a DENY.
func path(text string) ([]model.StringMatch, error) {
	if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "*") {
		return nil, errRelative
	}
	if !strings.ContainsAny(text, "{}") {
		return plain(text, false)
	}
	var pattern strings.Builder
	rest := false
	for _, part := range strings.Split(text, "/")[1:] {
		pattern.WriteByte('/')
		switch {
		case text[0] != '/', rest && strings.HasPrefix(part, "{"):
			return nil, errTemplate
		case part == "{*}":
			pattern.WriteString("[^/]+")
		case part == "{**}":
			rest = true
			pattern.WriteString(".*")
		case strings.ContainsAny(part, "*{}"):
			return nil, errTemplate
		default:
			pattern.WriteString(regexp.QuoteMeta(part))
		}
	}
	return []model.StringMatch{{Kind: model.MatchRegex, Value: pattern.String()}}, nil
}
