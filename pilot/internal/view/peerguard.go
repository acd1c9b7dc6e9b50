package view

import (
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// peerGuards finds the PeerAuthentications of endpoints by a label that these
// select by, so that an edit of one is nothing to services that it does not
// select.
type peerGuards struct {
	bySelector *memo.Grouped[*model.PeerAuth]                     // by guardKey
	labels     *memo.Derived[memo.Table[*model.PeerAuth], string] // the first keys of a namespace's selectors, joined by commas
}

func newPeerGuards(in *inputs) *peerGuards {
	byNamespace := memo.Group(in.graph, &in.peerAuth.Cell, func(_ string, p *model.PeerAuth) []string { return []string{p.Namespace} })
	return &peerGuards{
		bySelector: memo.Group(in.graph, &in.peerAuth.Cell, func(_ string, p *model.PeerAuth) []string {
			key := firstKey(p.Selector)
			return []string{guardKey(p.Namespace, key, p.Selector[key])}
		}),
		labels: memo.Map(in.graph, &byNamespace.Cell, func(_ *memo.Reader, _ string, all memo.Table[*model.PeerAuth]) (string, bool) {
			keys := map[string]bool{}
			for _, p := range all.All() {
				if len(p.Selector) > 0 {
					keys[firstKey(p.Selector)] = true
				}
			}
			return strings.Join(slices.Sorted(maps.Keys(keys)), ","), len(keys) > 0
		}),
	}
}

// firstKey is the first of a selector's labels, by name; "" if it has none.
func firstKey(selector map[string]string) (first string) {
	for key := range selector {
		if first == "" || key < first {
			first = key
		}
	}
	return first
}

func guardKey(namespace, label, value string) string { return namespace + "/" + label + "=" + value }

// of are the policies that may hold for endpoints in a namespace: those of the
// mesh, of the namespace, and those whose selector begins with a label that
// some endpoint has. Their order says nothing.
func (g *peerGuards) of(r *memo.Reader, e *model.Endpoints, namespace, root string) (out []*model.PeerAuth) {
	add := func(key string) {
		found, _ := memo.Get(r, &g.bySelector.Cell, key)
		for _, p := range found.All() {
			out = append(out, p)
		}
	}
	add(guardKey(namespace, "", ""))
	if root != namespace {
		add(guardKey(root, "", ""))
	}
	keys, ok := memo.Get(r, &g.labels.Cell, namespace)
	if !ok {
		return out
	}
	for label := range strings.SplitSeq(keys, ",") {
		for _, value := range valuesOf(e, label) {
			add(guardKey(namespace, label, value))
		}
	}
	return out
}

// valuesOf are the values that endpoints have of a label, sorted.
func valuesOf(e *model.Endpoints, label string) []string {
	var all []string
	for _, port := range e.Ports {
		for _, ep := range port.Endpoints {
			if v, ok := ep.Labels[label]; ok {
				all = append(all, v)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
