package view

import (
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// guard is a security policy in a table.
type guard interface {
	comparable
	model.Guard
}

// guards derives the policies of a kind that hold for proxies of the class.
// Source: istio.io/api security/v1beta1, AuthorizationPolicy.selector.
func guards[P guard](in *inputs, role model.Role, all *memo.Input[P]) *memo.Derived[P, P] {
	return memo.Map(in.graph, &all.Cell, func(r *memo.Reader, _ string, p P) (P, bool) {
		namespace, selectors := p.Guards()
		if role == model.RoleOutbound || role == model.RoleGRPCClient || namespace != in.config(r).RootNamespace && !in.home(r, namespace) {
			return p, false
		}
		return p, in.selectedByAny(r, selectors)
	})
}

// guardKeys are the labels by which a policy tells servers apart, as
// "namespace/key".
func guardKeys[P guard](p P) (keys []string) {
	namespace, selectors := p.Guards()
	for _, s := range selectors {
		keys = append(keys, keysIn(namespace, s)...)
	}
	return keys
}
