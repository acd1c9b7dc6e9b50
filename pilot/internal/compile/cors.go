package compile

import (
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// cors reads one http[].corsPolicy. Entries that cannot be honoured are left
// out, which allows less.
//
// Source: istio.io/api networking/v1alpha3, message CorsPolicy.
func (c *routing) cors(in *networking.CorsPolicy, at diag.Path) *model.CORS {
	if in == nil {
		return nil
	}
	out := &model.CORS{
		Methods:          c.tokens("an HTTP method", in.GetAllowMethods(), at.Field("allowMethods")),
		Headers:          c.tokens("a header name", in.GetAllowHeaders(), at.Field("allowHeaders")),
		Expose:           c.tokens("a header name", in.GetExposeHeaders(), at.Field("exposeHeaders")),
		UnmatchedForward: in.GetUnmatchedPreflights() != networking.CorsPolicy_IGNORE,
	}
	out.UnmatchedPreflight = in.GetUnmatchedPreflights() != networking.CorsPolicy_UNSPECIFIED
	if v := in.GetAllowCredentials(); v != nil {
		allow := v.GetValue()
		out.Credentials = &allow
	}
	if age, ok := notNegative(in.GetMaxAge(), at.Field("maxAge"), c.d); ok {
		if out.MaxAge = age.Truncate(time.Second); out.MaxAge != age {
			c.d.Add(diag.Invalid, at.Field("maxAge"), "browsers count whole seconds; %v is in force", out.MaxAge)
		}
	}
	out.Origins = c.origins(in, at)
	return out
}

func (c *routing) origins(in *networking.CorsPolicy, at diag.Path) (out []model.StringMatch) {
	for i, o := range in.GetAllowOrigins() {
		at := at.Field("allowOrigins").Index(i)
		if o.GetExact() == "" && o.GetPrefix() == "" && o.GetRegex() == "" {
			c.d.Add(diag.Invalid, at, "the origin is empty")
		} else if m, ok := c.stringMatch(o, at); ok {
			out = append(out, m)
		}
	}
	if len(in.GetAllowOrigins()) > 0 {
		return out
	}
	for i, o := range in.GetAllowOrigin() { //nolint:staticcheck // still in the API
		at := at.Field("allowOrigin").Index(i)
		c.d.Add(diag.OldField, at, "allowOrigins replaces it")
		if checkText(o, at, c.d) {
			out = append(out, model.StringMatch{Kind: model.MatchExact, Value: o})
		}
	}
	return out
}

// tokens keeps method and header names that can stand in a header's list.
// tokens reads a list of tokens; what says what they are.
func (c *routing) tokens(what string, in []string, at diag.Path) (out []string) {
	for i, name := range in {
		if name = strings.TrimSpace(name); !token.MatchString(name) {
			c.d.Add(diag.Invalid, at.Index(i), "%q is not %s", name, what)
			continue
		}
		out = append(out, name)
	}
	return out
}
