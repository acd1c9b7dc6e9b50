package compile

import (
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// compileRequestAuthentication reads one RequestAuthentication. An issuer whose
// keys cannot be used stays, without keys: its tokens are refused, and not
// passed over as if nobody had asked for them to be checked.
//
// Source: istio.io/api security/v1beta1, messages RequestAuthentication and
// JWTRule.
func compileRequestAuthentication(o *config.Object, in scope, d *diag.List) *model.TokenPolicy {
	spec, ok := o.Spec.(*security.RequestAuthentication)
	if !ok {
		return nil
	}
	out := &model.TokenPolicy{Namespace: o.Namespace, Name: o.Name, Origin: origin(o, "security.istio.io", "request-authentication")}
	selectors, told := policySelectors(spec, o.Namespace, in, d)
	out.Selectors = selectors
	at := diag.Path("spec.jwtRules")
	for i, rule := range spec.GetJwtRules() {
		out.Issuers = append(out.Issuers, tokenIssuer(rule, in, at.Index(i), d))
		if part := unread(o.Unread).under(at.Index(i)); part != "" {
			out.Issuers[i].Keys = ""
			d.Add(diag.Unread, part, "what the rule asks for is not known, so every token of the issuer is refused")
		}
	}
	if part := unread(o.Unread).besideLists(at); part != "" {
		return refuseAll(out, o, part, d)
	}
	if !told {
		d.Add(diag.NotEnforced, "spec", "no workload can be told from it, so it is enforced nowhere")
		return nil
	}
	return out
}

// refuseAll makes of a policy whose rules or whose workloads are not known one
// that takes no token at those that it may be for.
func refuseAll(out *model.TokenPolicy, o *config.Object, at diag.Path, d *diag.List) *model.TokenPolicy {
	out.Selectors = whatever(o, out.Selectors)
	if len(out.Issuers) == 0 {
		out.Issuers = []model.TokenIssuer{tokenIssuer(&security.JWTRule{Issuer: "unknown", Jwks: "{}"}, scope{}, "", diag.For(o.Ref()))}
	}
	for i := range out.Issuers {
		out.Issuers[i].Keys = ""
	}
	d.Add(diag.Unread, at, "what the policy asks for is not known, so it refuses every token")
	return out
}

// tokenIssuer reads a rule. One whose issuer or places cannot be read is left
// without keys.
func tokenIssuer(in *security.JWTRule, from scope, at diag.Path, d *diag.List) model.TokenIssuer {
	out := model.TokenIssuer{
		Issuer: in.GetIssuer(), Audiences: in.GetAudiences(), Forward: in.GetForwardOriginalToken(), Keys: from.tokenKeys(in, at, d),
		PayloadHeader: headerOrNone(in.GetOutputPayloadToHeader(), at.Field("outputPayloadToHeader"), d),
		ClaimHeaders:  claimHeaders(in.GetOutputClaimToHeaders(), at.Field("outputClaimToHeaders"), d),
	}
	claims := append(texts(in.GetSpaceDelimitedClaims(), at.Field("spaceDelimitedClaims"), d), "permission", "scope")
	slices.Sort(claims)
	out.SpaceDelimited = slices.Compact(claims)
	if out.Issuer == "" {
		d.Add(diag.TokensRefused, at.Field("issuer"), "it is empty; every token is refused where the rule looks for it, unless it is right for another rule")
		out.Keys = ""
	}
	if !tokenPlaces(in, &out, at, d) {
		out.Keys = ""
	}
	return out
}

// tokenPlaces reads where tokens are, by default "Authorization: Bearer" and
// the parameter access_token; false: not all could be read.
func tokenPlaces(in *security.JWTRule, out *model.TokenIssuer, at diag.Path, d *diag.List) bool {
	for i, h := range in.GetFromHeaders() {
		if checkHeaderName(h.GetName(), at.Field("fromHeaders").Index(i).Field("name"), d) {
			out.Headers = append(out.Headers, model.TokenHeader{Name: strings.ToLower(h.GetName()), Prefix: h.GetPrefix()})
		}
	}
	out.Params = texts(in.GetFromParams(), at.Field("fromParams"), d)
	out.Cookies = texts(in.GetFromCookies(), at.Field("fromCookies"), d)
	found, wanted := len(out.Headers)+len(out.Params)+len(out.Cookies), len(in.GetFromHeaders())+len(in.GetFromParams())+len(in.GetFromCookies())
	if found == 0 {
		out.Headers, out.Params = []model.TokenHeader{{Name: "authorization", Prefix: "Bearer "}}, []string{"access_token"}
	}
	return found == wanted
}

// texts are those that are not empty.
func texts(all []string, at diag.Path, d *diag.List) (out []string) {
	for i, text := range all {
		if text == "" {
			d.Add(diag.Invalid, at.Index(i), "it is empty")
			continue
		}
		out = append(out, text)
	}
	return out
}

func headerOrNone(name string, at diag.Path, d *diag.List) string {
	if name == "" || !broughtHeader(name, at, d) {
		return ""
	}
	return strings.ToLower(name)
}

// broughtHeader checks the name of a header that a token brings, and nobody else.
func broughtHeader(name string, at diag.Path, d *diag.List) bool {
	if strings.EqualFold(name, "host") {
		d.Add(diag.Invalid, at, "%s is the host that every request names, and that routes go by", name)
		return false
	}
	return checkHeaderName(name, at, d)
}

func claimHeaders(all []*security.ClaimToHeader, at diag.Path, d *diag.List) (out []model.ClaimHeader) {
	for i, c := range all {
		at, name := at.Index(i), strings.ToLower(c.GetHeader())
		switch {
		case !broughtHeader(name, at.Field("header"), d):
		case c.GetClaim() == "":
			d.Add(diag.Invalid, at.Field("claim"), "it is empty")
		case slices.ContainsFunc(out, func(other model.ClaimHeader) bool { return other.Header == name }):
			d.Add(diag.Duplicate, at.Field("header"), "%s gets a claim already", c.GetHeader())
		default:
			out = append(out, model.ClaimHeader{Header: name, Claim: c.GetClaim()})
		}
	}
	return out
}

// tokenKeys are the keys of a rule, in a form that Envoy reads; empty: none.
func (s scope) tokenKeys(in *security.JWTRule, at diag.Path, d *diag.List) string {
	if !config.KeyTimeoutSound(in) {
		d.Add(diag.Invalid, at.Field("timeout"), "want more than 0s and at most 30s; 5s is in force")
	}
	if in.GetJwks() == "" {
		return s.fetchedKeys(in, at, d)
	}
	if in.GetJwksUri() != "" {
		d.Add(diag.Invalid, at.Field("jwksUri"), "jwks and jwksUri exclude one another; jwks is in force")
	}
	keys, left, err := publicKeys(in.GetJwks(), maxKeys)
	if err != nil {
		d.Add(diag.TokensRefused, at.Field("jwks"), "%v; every token of the issuer is refused", err)
	}
	for _, why := range left {
		d.Add(diag.KeyLeftOut, at.Field("jwks"), "%s", why)
	}
	return keys
}

// fetchedKeys are the keys that were fetched for a rule. Where nobody fetches,
// as in a check of files, nothing is known of them and nothing is said.
func (s scope) fetchedKeys(in *security.JWTRule, at diag.Path, d *diag.List) string {
	if in.GetIssuer() == "" && in.GetJwksUri() == "" {
		return "" // the issuer is reported
	}
	at = at.Field("jwksUri")
	source, err := config.KeySourceOf(in)
	if err != nil {
		d.Add(diag.TokensRefused, at, "%v; every token of the issuer is refused", err)
		return ""
	}
	o, ok := memo.Get(s.r, s.c.input(config.KeySet), "/"+source.Name())
	if !ok {
		return ""
	}
	fetched, _ := o.Spec.(*config.Keys)
	switch {
	case fetched.Failed != "" && fetched.Text == "":
		d.Add(diag.KeysMissing, at, "%s: %s; every token of the issuer is refused", source.URL, fetched.Failed)
		return ""
	case fetched.Failed != "":
		d.Add(diag.KeysOld, at, "%s: %s; the keys that were fetched last stay in force", source.URL, fetched.Failed)
	}
	keys, left, err := publicKeys(fetched.Text, maxFetched)
	if err != nil {
		d.Add(diag.KeysMissing, at, "%s: %v; every token of the issuer is refused", source.URL, err)
	}
	for _, why := range left {
		d.Add(diag.KeyLeftOut, at, "%s: %s", source.URL, why)
	}
	return keys
}
