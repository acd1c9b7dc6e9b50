package pilot

import (
	"bytes"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/translate"
)

// guardless: an EnvoyFilter that takes away what enforces security policies.
var guardless = diag.Finding{Code: "WEFT0205", Severity: diag.Warning, Cure: "remove the patch, or the policies that are not to hold"}

// guardTypes are the filters that enforce policies.
var guardTypes = [][]byte{
	[]byte("type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"), []byte("type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"),
	[]byte("type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"), []byte("type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"),
	[]byte("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
}

// unguarded gathers findings about EnvoyFilters by which policies are enforced
// no more, whatever way they are written: what a class has with one of them is
// compared with what it has without any.
type unguarded struct {
	set  config.Set
	said map[string]bool // EnvoyFilters that were found
	out  []diag.Diagnostic
}

func newUnguarded(set config.Set) *unguarded { return &unguarded{set: set, said: map[string]bool{}} }

func (u *unguarded) note(v *model.View) {
	if v.Filters.Len() == 0 || v.Authorizations.Len()+v.TokenPolicies.Len() == 0 {
		return
	}
	without := *v
	without.Filters = memo.Table[*model.EnvoyFilter]{}
	var whole map[string]int
	for key, f := range v.Filters.All() {
		at := takesAway(f)
		o, ok := u.set.Of(config.EnvoyFilter).Get(key)
		if at < 0 || !ok || u.said[key] {
			continue
		}
		if whole == nil {
			whole = guardsIn(&without)
		}
		with := without
		with.Filters = without.Filters.With(key, f)
		left := guardsIn(&with)
		for name, n := range whole {
			if has, there := left[name]; there && has < n && !u.said[key] {
				u.said[key] = true
				d := diag.For(o.Ref())
				d.Add(guardless, patchPath(at), "it takes filters out of listener %s that enforce AuthorizationPolicies or RequestAuthentications: these do not hold there", name)
				u.out = append(u.out, d.All()...)
			}
		}
	}
}

// takesAway is the first patch that may take filters away; -1: none does.
func takesAway(f *model.EnvoyFilter) int {
	for _, p := range f.Patches {
		filter := p.To == model.ToHTTPFilter || p.To == model.ToNetworkFilter
		if filter && (p.Op == model.OpRemove || p.Op == model.OpReplace) {
			return p.Index
		}
	}
	return -1
}

// guardsIn counts the filters that enforce policies in each listener of a class.
func guardsIn(v *model.View) map[string]int {
	out := map[string]int{}
	for name, r := range translate.For(v.Class.Role).Snapshot(v).Of(snapshot.Listener).All() {
		out[name] = 0
		for _, t := range guardTypes {
			out[name] += bytes.Count(r.Body, t)
		}
	}
	return out
}
