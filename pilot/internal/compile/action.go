package compile

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// maxBody bounds a direct response's body, in bytes.
const maxBody = 1 << 20

// redirect reads http[].redirect; nil if it cannot be honoured.
//
// Source: istio.io/api networking/v1alpha3, message HTTPRedirect.
func (c *routing) redirect(in *networking.HTTPRoute, at diag.Path) *model.Redirect {
	r := in.GetRedirect()
	before := len(c.d.All())
	out := &model.Redirect{Path: r.GetUri(), Prefix: r.GetPrefixRewrite(), Authority: r.GetAuthority(), Scheme: r.GetScheme(), Code: r.GetRedirectCode()}
	c.plainText(out.Path, at.Field("uri"))
	c.plainText(out.Prefix, at.Field("prefixRewrite"))
	c.plainText(out.Authority, at.Field("authority"))
	if out.Code == 0 {
		out.Code = http.StatusMovedPermanently
	}
	if !slices.Contains([]uint32{301, 302, 303, 307, 308}, out.Code) {
		c.d.Add(diag.Invalid, at.Field("redirectCode"), "must be 301, 302, 303, 307 or 308, got %d", out.Code)
	}
	if out.Scheme != "" && out.Scheme != "http" && out.Scheme != "https" {
		c.d.Add(diag.Invalid, at.Field("scheme"), `must be "http" or "https", got %q`, out.Scheme)
	}
	switch p := r.GetRedirectPort().(type) {
	case *networking.HTTPRedirect_Port:
		if out.Port = p.Port; p.Port > 0 {
			checkPort(p.Port, at.Field("port"), c.d)
		}
	case *networking.HTTPRedirect_DerivePort:
		out.DerivePort = p.DerivePort == networking.HTTPRedirect_FROM_PROTOCOL_DEFAULT
		out.RequestPort = p.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT
	}
	c.redirectPaths(in, at)
	if errorsSince(c.d, before) > 0 {
		return nil
	}
	return out
}

// plainText checks a part of a URI.
func (c *routing) plainText(s string, at diag.Path) bool {
	warnOfCommand(s, at, c.d)
	return checkText(s, at, c.d)
}

// redirectPaths checks what a redirect needs of its route.
func (c *routing) redirectPaths(in *networking.HTTPRoute, at diag.Path) {
	r := in.GetRedirect()
	if r.GetUri() != "" && r.GetPrefixRewrite() != "" {
		c.d.Add(diag.Invalid, at.Field("prefixRewrite"), "only one of uri and prefixRewrite may be set")
	}
	if r.GetPrefixRewrite() != "" {
		for _, m := range in.GetMatch() {
			if _, prefix := m.GetUri().GetMatchType().(*networking.StringMatch_Prefix); m.GetUri() != nil && !prefix {
				c.d.Add(diag.Invalid, at.Field("prefixRewrite"), "every match.uri of the route must be a prefix")
				break
			}
		}
	}
	if r.GetUri() == "" && r.GetPrefixRewrite() == "" && r.GetAuthority() == "" && r.GetScheme() == "" && r.GetRedirectPort() == nil {
		c.d.Add(diag.Invalid, at, "one of uri, prefixRewrite, authority, scheme and port must be set")
	}
	if in.GetRewrite() != nil || in.GetFault() != nil {
		c.d.Add(diag.NoEffect, at, "rewrite and fault have no effect on a redirect")
	}
}

// directResponse reads http[].directResponse; nil if it cannot be honoured.
func (c *routing) directResponse(in *networking.HTTPDirectResponse, at diag.Path) *model.DirectResponse {
	if !checkStatus(int64(in.GetStatus()), at.Field("status"), c.d) {
		return nil
	}
	out := &model.DirectResponse{Status: in.GetStatus()}
	switch b := in.GetBody().GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		out.Body = []byte(b.String_)
	case *networking.HTTPBody_Bytes:
		out.Body = b.Bytes
	}
	if len(out.Body) > maxBody {
		c.d.Add(diag.Invalid, at.Field("body"), "the body has %d bytes, at most %d are allowed", len(out.Body), maxBody)
		return nil
	}
	return out
}

// rewrite reads http[].rewrite. authority is that of the route, from rewrite or
// headers.
func (c *routing) rewrite(in *networking.HTTPRewrite, authority string, at diag.Path) *model.Rewrite {
	out := model.Rewrite{Path: in.GetUri(), Authority: authority}
	if !c.plainText(out.Path, at.Field("uri")) {
		out.Path = ""
	}
	if re := in.GetUriRegexRewrite(); re != nil {
		at := at.Field("uriRegexRewrite")
		switch {
		case in.GetUri() != "":
			c.d.Add(diag.Invalid, at, "only one of uri and uriRegexRewrite may be set; uri is in force")
		case checkRegex(re.GetMatch(), at.Field("match"), c.d) && checkSubstitution(re, at.Field("rewrite"), c.d):
			out.Regex, out.Substitution = re.GetMatch(), re.GetRewrite()
			warnOfCommand(re.GetRewrite(), at.Field("rewrite"), c.d)
		}
	}
	if in != nil && in.GetUri() == "" && in.GetAuthority() == "" && in.GetUriRegexRewrite() == nil {
		c.d.Add(diag.Invalid, at, "one of uri, uriRegexRewrite and authority must be set")
	}
	if out == (model.Rewrite{}) {
		return nil
	}
	return &out
}

// routeAuthority gives the authority that the route sets: rewrite.authority
// goes before headers.request.set, and that before add.
func (c *routing) routeAuthority(in *networking.HTTPRoute, at diag.Path) string {
	request := in.GetHeaders().GetRequest()
	authority := in.GetRewrite().GetAuthority()
	for _, h := range []map[string]string{request.GetSet(), request.GetAdd()} {
		if v, ok := authorityOf(h); ok && authority != "" && v != authority {
			c.d.Add(diag.Invalid, at.Field("headers.request"), "the authority is set more than once; %q is in force", authority)
		} else if ok && authority == "" {
			authority = v
		}
	}
	if !c.plainText(authority, at.Field("rewrite.authority")) {
		return ""
	}
	return authority
}

// mirrors reads http[].mirror with its percentage, and http[].mirrors.
func (c *routing) mirrors(in *networking.HTTPRoute, at diag.Path) (out []model.Mirror) {
	if in.GetMirror() != nil && len(in.GetMirrors()) > 0 {
		c.d.Add(diag.Invalid, at.Field("mirrors"), "only one of mirror and mirrors may be set; both are in force")
	}
	if in.GetMirror() != nil {
		percent := in.GetMirrorPercentage()
		path := at.Field("mirrorPercentage")
		if old := in.GetMirrorPercent(); percent == nil && old != nil { //nolint:staticcheck // still in the API
			path = at.Field("mirrorPercent")
			c.d.Add(diag.OldField, path, "mirrorPercentage replaces it")
			percent = &networking.Percent{Value: float64(old.GetValue())}
		}
		out = c.mirror(out, in.GetMirror(), percent, [2]diag.Path{at.Field("mirror"), path})
	}
	for i, m := range in.GetMirrors() {
		at := at.Field("mirrors").Index(i)
		out = c.mirror(out, m.GetDestination(), m.GetPercentage(), [2]diag.Path{at.Field("destination"), at.Field("percentage")})
	}
	return out
}

// mirror appends one mirror; at are the paths of destination and percentage.
// An absent percentage is all requests, 0 is none.
func (c *routing) mirror(out []model.Mirror, to *networking.Destination, p *networking.Percent, at [2]diag.Path) []model.Mirror {
	dest, ok := c.destination(to, at[0])
	ppm, valid := partsPerMillion(p, 1_000_000, at[1], c.d)
	if !ok || !valid || ppm == 0 {
		return out
	}
	return append(out, model.Mirror{Destination: dest, PPM: ppm})
}

// defaultRetry is Istio's where neither route nor MeshConfig say otherwise.
// The base interval of 25 ms is Envoy's own.
func defaultRetry() *model.Retry {
	return &model.Retry{Attempts: 2, On: defaultRetryOn}
}

const defaultRetryOn = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"

// compileRetry reads an HTTPRetry: nil gives absent, no attempts no retries.
// What is not set is Istio's default, not that of the mesh.
//
// Source: istio.io/api networking/v1alpha3, message HTTPRetry.
func compileRetry(in *networking.HTTPRetry, absent *model.Retry, at diag.Path, d *diag.List) *model.Retry {
	switch {
	case in == nil:
		return absent
	case in.GetAttempts() < 0:
		d.Add(diag.Invalid, at.Field("attempts"), "must not be negative, got %d; the mesh's default is in force", in.GetAttempts())
		return absent
	case in.GetAttempts() == 0:
		if in.GetPerTryTimeout() != nil || in.GetRetryOn() != "" || in.GetRetryRemoteLocalities() != nil {
			d.Add(diag.NoEffect, at.Field("attempts"), "0 attempts mean no retries, so the other fields have no effect")
		}
		return nil
	}
	out := defaultRetry()
	out.Attempts = uint32(in.GetAttempts())
	if in.GetRetryOn() != "" {
		out.On, out.Codes = retryOn(in.GetRetryOn(), at.Field("retryOn"), d)
	}
	if v, ok := notNegative(in.GetPerTryTimeout(), at.Field("perTryTimeout"), d); ok {
		out.PerTry = v
	}
	if v, ok := positive(in.GetBackoff(), at.Field("backoff"), d); ok {
		out.Backoff = v
	}
	out.RemoteLocality = in.GetRetryRemoteLocalities().GetValue()
	if v := in.GetRetryIgnorePreviousHosts(); v != nil {
		out.PreviousHosts = !v.GetValue()
	}
	return out
}

// retryConditions are those of Envoy's x-envoy-retry-on and
// x-envoy-retry-grpc-on, as Istio admits them.
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
	"retriable-status-codes", "retriable-headers", "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// retryOn splits conditions from status codes, which stand for
// retriable-status-codes with that code.
func retryOn(in string, at diag.Path, d *diag.List) (string, []uint32) {
	var on []string
	var codes []uint32
	for part := range strings.SplitSeq(in, ",") {
		part = strings.TrimSpace(part)
		code, err := strconv.Atoi(part)
		switch {
		case part == "":
		case err == nil && http.StatusText(code) != "":
			codes = append(codes, uint32(code))
		case slices.Contains(retryConditions, part):
			on = append(on, part)
		default:
			d.Add(diag.Invalid, at, "%q is not a condition to retry on", part)
		}
	}
	if len(codes) > 0 && !slices.Contains(on, "retriable-status-codes") {
		on = append(on, "retriable-status-codes")
	}
	if len(on) == 0 {
		return defaultRetryOn, nil
	}
	return strings.Join(on, ","), codes
}

// checkSubstitution: Envoy refuses a reference to a group that the pattern
// lacks.
func checkSubstitution(in *networking.RegexRewrite, at diag.Path, d *diag.List) bool {
	groups := regexp.MustCompile(in.GetMatch()).NumSubexp()
	text := in.GetRewrite()
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		switch {
		case i < len(text) && text[i] == '\\':
		case i < len(text) && text[i] >= '0' && int(text[i]-'0') <= groups && text[i] <= '9':
		default:
			d.Add(diag.Invalid, at, `"\\" must be followed by "\\" or a digit up to the pattern's %d groups`, groups)
			return false
		}
	}
	return text == "" || checkText(text, at, d)
}
