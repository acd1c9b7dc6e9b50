package view

import "github.com/weftmesh/weft/internal/model"

// MTLSRule is the mTLS mode of a workload's port, and what says so.
type MTLSRule struct {
	Mode model.MTLSMode
	// By is the PeerAuthentication, "namespace/name"; empty: the default.
	By string
	// Own: By selects workloads, so that one for the namespace or the mesh does
	// not change the mode.
	Own bool
}

// MTLSRuleOf is what holds at a port of a workload.
func MTLSRuleOf(mesh *model.Mesh, w *model.Workload, port uint32) (out MTLSRule) {
	var all []*model.PeerAuth
	for _, p := range mesh.PeerAuth.All() {
		all = append(all, p)
	}
	root, ns, own := ruling(all, w.Labels, w.Namespace, mesh.Settings.RootNamespace)
	for _, p := range []*model.PeerAuth{root, ns, own} {
		if p != nil && p.Mode != nil {
			out = MTLSRule{Mode: *p.Mode, By: p.Namespace + "/" + p.Name, Own: p == own}
		}
	}
	if own != nil {
		if mode, ok := own.Ports[port]; ok {
			out = MTLSRule{Mode: mode, By: own.Namespace + "/" + own.Name, Own: true}
		}
	}
	return out
}

// ruling are the policies that may say a workload's mode: the oldest of the
// mesh, of the namespace, and of those that select it; nil: there is none.
func ruling(policies []*model.PeerAuth, labels map[string]string, namespace, root string) (mesh, ns, workload *model.PeerAuth) {
	for _, p := range policies {
		switch {
		case len(p.Selector) > 0:
			if p.Namespace == namespace && model.Selects(p.Selector, labels) {
				workload = older(workload, p, peerAuthRank)
			}
		case p.Namespace == root:
			mesh = older(mesh, p, peerAuthRank)
		case p.Namespace == namespace:
			ns = older(ns, p, peerAuthRank)
		}
	}
	return mesh, ns, workload
}
