package compile

import (
	"reflect"
	"slices"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// shadows finds, among the routes so far, one that takes all that a later one
// would. Routes stand by the prefix that they take, so that a lookup costs the
// length of a path and not the number of routes.
type shadows map[string][]placed

// keptShadows bounds how many routes of one prefix are looked at, so that
// thousands of routes cost thousands of looks and not millions: of what many
// earlier ones hide, a warning may be missing.
const keptShadows = 64

// placed is a route and where it stands.
type placed struct {
	route *model.Route
	at    diag.Path
}

// add keeps a route that may hide others: one for any path, or for a prefix.
func (s shadows) add(r *model.Route, at diag.Path) {
	path := ""
	if p := r.Match.Path; p != nil {
		if p.Kind != model.MatchPrefix || p.IgnoreCase {
			return
		}
		path = p.Value
	}
	if len(s[path]) < keptShadows {
		s[path] = append(s[path], placed{r, at})
	}
}

// of gives where the first route stands that hides r; "" if none does.
func (s shadows) of(r *model.Route) diag.Path {
	path := ""
	if p := r.Match.Path; p != nil && (p.Kind == model.MatchPrefix || p.Kind == model.MatchExact) && !p.IgnoreCase {
		path = p.Value
	}
	for end := range len(path) + 1 {
		for _, earlier := range s[path[:end]] {
			if implied(earlier.route, r) {
				return earlier.at
			}
		}
	}
	return ""
}

// implied reports whether r asks for all that earlier asks for beside the path.
func implied(earlier, r *model.Route) bool {
	a, b := &earlier.Match, &r.Match
	if !reflect.DeepEqual(earlier.Scope, model.Scope{}) && !reflect.DeepEqual(earlier.Scope, r.Scope) {
		return false
	}
	for _, part := range [][2]*model.StringMatch{{a.Scheme, b.Scheme}, {a.Method, b.Method}, {a.Authority, b.Authority}} {
		if part[0] != nil && (part[1] == nil || *part[0] != *part[1]) {
			return false
		}
	}
	lacks := func(h model.HeaderMatch) bool { return !slices.Contains(b.Headers, h) }
	same := func(x model.ClaimMatch) func(model.ClaimMatch) bool {
		return func(y model.ClaimMatch) bool { return reflect.DeepEqual(x, y) }
	}
	return !slices.ContainsFunc(a.Headers, lacks) &&
		!slices.ContainsFunc(a.Claims, func(x model.ClaimMatch) bool { return !slices.ContainsFunc(b.Claims, same(x)) }) &&
		!slices.ContainsFunc(a.Query, func(q model.QueryMatch) bool { return !slices.Contains(b.Query, q) })
}
