package compile

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// claimsHeader is what the name of a header begins with that stands for a claim
// of the request's token.
const claimsHeader = "@request.auth.claims"

// ofClaim reports whether a header's name stands for a claim. Its case does not
// count, that of the claim's name does.
func ofClaim(name string) bool {
	return len(name) >= len(claimsHeader) && strings.EqualFold(name[:len(claimsHeader)], claimsHeader)
}

// claimMatches reads those headers of a match that stand for claims. The proxies
// of apps check no tokens before they choose a route, so such a match holds at
// gateways alone.
//
// Source: Istio's task "JWT claim based routing".
func (c *routing) claimMatches(in *networking.HTTPMatchRequest, out *model.Match, s model.Scope, at diag.Path) {
	gateways := s.Gateways
	if gateways == nil {
		gateways = c.doors
	}
	for _, part := range []struct {
		headers map[string]*networking.StringMatch
		field   string
		not     bool
	}{{in.GetHeaders(), "headers", false}, {in.GetWithoutHeaders(), "withoutHeaders", true}} {
		for _, name := range slices.Sorted(maps.Keys(part.headers)) {
			if !ofClaim(name) {
				continue
			}
			at := at.Field(part.field).Key(name)
			path := claimPath(name[len(claimsHeader):])
			if path == nil {
				c.d.Add(diag.Invalid, at, "it names no claim; want %s.NAME, or %[1]s[NAME] with one more [NAME] for each claim inside of another", claimsHeader)
			}
			if slices.Contains(gateways, meshGateway) {
				c.d.Add(diag.ClaimInMesh, at, "no token is checked before a route is chosen in the mesh, so no claim is known")
			}
			if sm, ok := c.present(part.headers[name], at); ok {
				out.Claims = append(out.Claims, model.ClaimMatch{Path: path, StringMatch: sm, Not: part.not})
			}
		}
	}
}

// claimPath parts ".a.b" or "[a][b]"; nil: it is neither.
func claimPath(text string) (path []string) {
	if inner, ok := strings.CutPrefix(text, "."); ok {
		path = strings.Split(inner, ".")
	} else if len(text) > 2 && text[0] == '[' && text[len(text)-1] == ']' {
		if path = strings.Split(text[1:len(text)-1], "]["); strings.ContainsAny(strings.Join(path, ""), "[]") {
			return nil
		}
	}
	if slices.Contains(path, "") {
		return nil
	}
	return path
}
