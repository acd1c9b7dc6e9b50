package simulate

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	jwt "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// tokenStatus is what checking a token came to.
type tokenStatus int

const (
	tokenGood tokenStatus = iota
	tokenMissing
	tokenForeign // of an issuer that is not asked for
	tokenBad
)

// token is one that was found in a request.
type token struct {
	text string
	// drop takes it out of the request.
	drop func(*Request)
}

// jwt checks the tokens of a request; one that is not right is answered 401, or
// 403 where it is for another audience.
// Source: envoy.extensions.filters.http.jwt_authn.v3.
func (w walk) jwt(config *jwt.JwtAuthentication, next step) ([]Outcome, error) {
	if err := checkKnown(config); err != nil {
		return nil, err
	}
	if config.GetBypassCorsPreflight() && w.preflight() {
		return next(w)
	}
	for _, rule := range config.GetRules() {
		if rule.GetMatch().GetPrefix() != "/" {
			return nil, unknown("rule of a token %v", rule.GetMatch())
		}
		status, err := w.require(rule.GetRequires(), config.GetProviders())
		if err != nil {
			return nil, err
		}
		if status.state != tokenGood {
			return w.local(status.code, status.why), nil
		}
	}
	if w.rerouted {
		w.vhost, w.route, w.rerouted = nil, nil, false
		return w.findRoute(next)
	}
	return next(w)
}

func (w walk) preflight() bool {
	_, origin := w.out.Request.Headers.Get("origin")
	_, asks := w.out.Request.Headers.Get("access-control-request-method")
	return w.out.Request.Method == "OPTIONS" && origin && asks
}

// verdict on a requirement.
type verdict struct {
	state tokenStatus
	code  int
	why   string
}

var missing = verdict{tokenMissing, 401, "Jwt is missing"}

// require evaluates a requirement: any of some providers, and whether it may be
// missing.
func (w *walk) require(r *jwt.JwtRequirement, providers map[string]*jwt.JwtProvider) (verdict, error) {
	switch kind := r.GetRequiresType().(type) {
	case *jwt.JwtRequirement_ProviderName:
		return w.provider(providers[kind.ProviderName])
	case *jwt.JwtRequirement_RequiresAny:
		return w.requireAny(kind.RequiresAny.GetRequirements(), providers)
	case *jwt.JwtRequirement_RequiresAll:
		for _, one := range kind.RequiresAll.GetRequirements() {
			if v, err := w.require(one, providers); err != nil || v.state != tokenGood {
				return v, err
			}
		}
		return verdict{}, nil
	}
	return verdict{}, unknown("requirement %T of tokens", r.GetRequiresType())
}

func (w *walk) requireAny(all []*jwt.JwtRequirement, providers map[string]*jwt.JwtProvider) (verdict, error) {
	worst, optional := missing, false
	for _, one := range all {
		if _, ok := one.GetRequiresType().(*jwt.JwtRequirement_AllowMissing); ok {
			optional = true
			continue
		}
		v, err := w.require(one, providers)
		if err != nil || v.state == tokenGood {
			return v, err
		}
		if v.state == tokenBad || worst.state == tokenMissing {
			worst = v
		}
	}
	if worst.state == tokenMissing && optional {
		return verdict{}, nil
	}
	return worst, nil
}

// provider checks the tokens in the places of one issuer, the last first; each
// must be right.
func (w *walk) provider(p *jwt.JwtProvider) (verdict, error) {
	if err := checkKnown(p); err != nil {
		return verdict{}, err
	}
	found := w.tokens(p)
	if len(found) == 0 {
		return missing, nil
	}
	for _, t := range slices.Backward(found) {
		claims, v := checkToken(t.text, p, time.Now())
		if v.state != tokenGood {
			return v, nil
		}
		w.bring(p, t, claims)
	}
	return verdict{}, nil
}

// tokens finds tokens where a provider looks for them.
func (w *walk) tokens(p *jwt.JwtProvider) (out []token) {
	headers, params := p.GetFromHeaders(), p.GetFromParams()
	if len(headers)+len(params)+len(p.GetFromCookies()) == 0 {
		headers, params = []*jwt.JwtHeader{{Name: "authorization", ValuePrefix: "Bearer "}}, []string{"access_token"}
	}
	r := w.out.Request
	for _, h := range headers {
		for _, value := range r.Headers.Values(h.GetName()) {
			if at := strings.Index(value, h.GetValuePrefix()); at >= 0 {
				text := value
				if h.GetValuePrefix() != "" {
					text = afterPrefix(value[at+len(h.GetValuePrefix()):])
				}
				out = append(out, token{text, func(r *Request) { r.Headers = r.Headers.With(h.GetName()) }})
			}
		}
	}
	_, query, _ := strings.Cut(r.Path, "?")
	values, _ := url.ParseQuery(query)
	for _, name := range params {
		if text := values.Get(name); text != "" {
			out = append(out, token{text, func(r *Request) { r.Path = withoutParam(r.Path, name) }})
		}
	}
	for _, name := range p.GetFromCookies() {
		if text, ok := cookie(r.Headers, name); ok {
			out = append(out, token{text, func(*Request) {}})
		}
	}
	return out
}

// withoutParam takes a parameter out of a path's query.
func withoutParam(path, name string) string {
	bare, query, _ := strings.Cut(path, "?")
	left := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		return key == name
	})
	if len(left) == 0 {
		return bare
	}
	return bare + "?" + strings.Join(left, "&")
}

// afterPrefix is what Envoy takes for a token after a prefix: from the first
// character that a token may have.
func afterPrefix(text string) string {
	start := strings.IndexFunc(text, func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
	})
	return text[max(start, 0):]
}

func cookie(h Headers, name string) (string, bool) {
	for _, line := range h.Values("cookie") {
		for part := range strings.SplitSeq(line, ";") {
			if key, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && key == name {
				return value, true
			}
		}
	}
	return "", false
}

// bring does what a right token brings: metadata, headers, and that it is
// taken out.
func (w *walk) bring(p *jwt.JwtProvider, t token, claims map[string]any) {
	r := &w.out.Request
	w.rerouted = w.rerouted || p.GetClearRouteCache()
	if !p.GetForward() {
		t.drop(r)
	}
	if name := p.GetForwardPayloadHeader(); name != "" {
		r.Headers = r.Headers.With(name, strings.Split(t.text, ".")[1])
	}
	for _, c := range p.GetClaimToHeaders() {
		if text, ok := claimText(claims, c.GetClaimName()); ok {
			r.Headers = r.Headers.With(c.GetHeaderName(), text)
		}
	}
	for _, name := range p.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims() {
		if text, ok := claims[name].(string); ok {
			var list []any
			for _, f := range strings.Fields(text) {
				list = append(list, f)
			}
			claims[name] = list
		}
	}
	if payload, err := structpb.NewStruct(claims); err == nil && p.GetPayloadInMetadata() != "" {
		w.metadata = map[string]*structpb.Struct{"envoy.filters.http.jwt_authn": {Fields: map[string]*structpb.Value{
			p.GetPayloadInMetadata(): structpb.NewStructValue(payload),
		}}}
	}
}

// claimText is a claim as a header has it; "." parts nested ones.
func claimText(claims map[string]any, name string) (string, bool) {
	head, rest, nested := strings.Cut(name, ".")
	if nested {
		inner, ok := claims[head].(map[string]any)
		if !ok {
			return "", false
		}
		return claimText(inner, rest)
	}
	switch v := claims[head].(type) {
	case string:
		return v, true
	case bool, float64:
		text, err := json.Marshal(v)
		return string(text), err == nil
	}
	return "", false
}

// checkToken says whether a token is right for a provider at a time.
// Source: RFC 7519, RFC 7515; the texts are those of Envoy.
func checkToken(text string, p *jwt.JwtProvider, now time.Time) (map[string]any, verdict) {
	bad := func(why string) (map[string]any, verdict) { return nil, verdict{tokenBad, 401, why} }
	parts := strings.Split(text, ".")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return bad("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")
	}
	var header struct{ Alg, Kid string }
	claims := map[string]any{}
	for i, to := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, to) != nil {
			return bad("Jwt header or payload is an invalid Base64url encoded or JSON text") // Envoy tells them apart
		}
	}
	if _, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return bad("Jwt signature is an invalid Base64url encoded")
	}
	if !slices.Contains(algorithms, header.Alg) {
		return bad("Jwt header [alg] is not supported")
	}
	if issuer, _ := claims["iss"].(string); p.GetIssuer() != "" && issuer != p.GetIssuer() {
		return nil, verdict{tokenForeign, 401, "Jwt issuer is not configured"}
	}
	const leeway = 60
	if exp, ok := claims["exp"].(float64); ok && float64(now.Unix()) > exp+leeway {
		return bad("Jwt is expired")
	}
	if nbf, ok := claims["nbf"].(float64); ok && float64(now.Unix()) < nbf-leeway {
		return bad("Jwt not yet valid")
	}
	if len(p.GetAudiences()) > 0 && !slices.ContainsFunc(audiences(claims), func(a string) bool { return slices.Contains(p.GetAudiences(), a) }) {
		return nil, verdict{tokenBad, 403, "Audiences in Jwt are not allowed"}
	}
	if p.GetRemoteJwks() != nil {
		return bad("Jwks remote fetch is failed") // of a cluster that nobody has
	}
	if why := unsigned(header.Alg, header.Kid, parts, p.GetLocalJwks().GetInlineString()); why != "" {
		return bad(why)
	}
	return claims, verdict{}
}

func audiences(claims map[string]any) (out []string) {
	switch aud := claims["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		for _, a := range aud {
			if text, ok := a.(string); ok {
				out = append(out, text)
			}
		}
	}
	return out
}
