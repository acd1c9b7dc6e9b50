package authz

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// Doubt is why what policies say may not be what the server's proxy does.
type Doubt struct {
	By  string `json:"by"` // "EnvoyFilter shop/lua"
	At  string `json:"at"` // "spec.configPatches[0]"
	Why string `json:"why"`
}

// Doubts are the patches of an EnvoyFilter by which a proxy may ask its policies
// otherwise than they say: of filters that enforce policies, or run before them,
// and of what holds these. role is the side that policies are asked on.
func Doubts(f *model.EnvoyFilter, role model.Role) (out []Doubt) {
	for i := range f.Patches {
		p := &f.Patches[i]
		if p.Role != "" && p.Role != role || !touches(p) {
			continue
		}
		what := string(p.To)
		if name := filterOf(p); name != "" {
			what += " " + name
		}
		out = append(out, Doubt{By: "EnvoyFilter " + f.Key(), At: fmt.Sprintf("spec.configPatches[%d]", p.Index), Why: fmt.Sprintf("%s of %s", p.Op, what)})
	}
	return out
}

const (
	routerFilter  = "envoy.filters.http.router"
	managerFilter = "envoy.filters.network.http_connection_manager"
	bytesFilter   = "envoy.filters.network.tcp_proxy"
)

// touches reports whether a patch may have a part in what becomes of a call.
func touches(p *model.Patch) bool {
	switch p.To {
	case model.ToListener, model.ToFilterChain, model.ToListenerFilter:
		return true
	case model.ToNetworkFilter:
		return touchesFilter(p, bytesFilter)
	case model.ToHTTPFilter:
		return p.Class != model.ClassStats && touchesFilter(p, routerFilter)
	case model.ToRouteTable, model.ToVirtualHost, model.ToRoute:
		// A filter that enforces policies can be switched off by route.
		return p.Op != model.OpRemove && namesGuard(p.Value)
	default: // behind all policies, or of no effect by itself
		return false
	}
}

// touchesFilter: what is put beside or done to the last filter of a chain, or any
// but one that enforces policies, is done behind these. What is added elsewhere
// may be before them, and may say no itself or alter what they see.
func touchesFilter(p *model.Patch, last string) bool {
	name := filterOf(p)
	switch p.Op {
	case model.OpInsertBefore, model.OpInsertAfter:
		return name != last || namesGuard(p.Value)
	case model.OpMerge, model.OpMergeReplace, model.OpReplace, model.OpRemove:
		if name == managerFilter { // normalises paths, and holds the filters for HTTP
			return true
		}
		return name == "" || namesGuard(name) || namesGuard(p.Value)
	default:
		return true
	}
}

// filterOf is the filter that a patch is matched by; "": any.
func filterOf(p *model.Patch) string {
	switch {
	case p.Listener == nil:
		return ""
	case p.Listener.Chain == nil:
		return p.Listener.Filter
	case p.To == model.ToHTTPFilter:
		return p.Listener.Chain.HTTP
	default:
		return p.Listener.Chain.Network
	}
}

// guards are the parts of the names of filters, and of their types, that enforce
// policies.
var guards = []string{"rbac", "ext_authz", "extauthz", "jwt_authn", "jwtauthn", "typed_per_filter_config", "typedperfilterconfig"}

func namesGuard(text string) bool {
	text = strings.ToLower(text)
	for _, g := range guards {
		if strings.Contains(text, g) {
			return true
		}
	}
	return false
}
