package model

import "slices"

// Guard is a security policy for servers, or what selects them as one.
type Guard interface {
	// Guards says for whom it is: workloads of its namespace, or in the root
	// namespace of all, that have the labels of one of the selectors; nil: all.
	Guards() (namespace string, selectors []map[string]string)
}

// Guarded reports whether a policy is for a workload. root is the mesh's root
// namespace. Source: istio.io/api security/v1beta1, AuthorizationPolicy.selector.
func Guarded(g Guard, root string, w *Workload) bool {
	namespace, selectors := g.Guards()
	if namespace != root && namespace != w.Namespace {
		return false
	}
	return selectors == nil || slices.ContainsFunc(selectors, func(s map[string]string) bool { return Selects(s, w.Labels) })
}
