package compile

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/gateway"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// gatewaySelector emits what a Gateway with credentials selects its proxies by.
func gatewaySelector(_ *memo.Reader, _ string, g *model.Gateway, emit memo.Emit[bool]) {
	if slices.ContainsFunc(g.Servers, func(s model.Server) bool { return s.TLS != nil && len(s.TLS.Credentials) > 0 }) {
		emit(model.FormatLabels(g.Selector), true)
	}
}

// edgeNamespaces emits, for each selector of a Gateway, the namespace of a pod
// that it selects. Selectors are few and change seldom, pods are many.
func edgeNamespaces(c *Compiler) func(*memo.Reader, string, *model.Workload, memo.Emit[bool]) {
	return func(r *memo.Reader, _ string, w *model.Workload, emit memo.Emit[bool]) {
		for selector := range memo.All(r, &c.selectors.Cell).All() {
			if selector != "" && model.Selects(model.ParseLabels(selector), w.Labels) {
				emit(selector+edgeSeparator+w.Namespace, true)
			}
		}
	}
}

// edgeSeparator is in no label and no namespace.
const edgeSeparator = "|"

func cutEdge(key string) (selector string) {
	selector, _, _ = strings.Cut(key, edgeSeparator)
	return selector
}

// checkCredentials looks for a Gateway's credentials where its proxies are:
// Istio takes them from the proxy's namespace. Where no proxy is known, as in a
// folder that is checked offline, the Gateway's namespace and the root one will
// both do.
func checkCredentials(g *model.Gateway, in scope, d *diag.List) {
	selector := model.FormatLabels(g.Selector)
	edges, known := memo.Get(in.r, &in.c.edgesOf.Cell, selector)
	for key := range edges.All() {
		gateway.CheckCredentials(g, strings.TrimPrefix(key, selector+edgeSeparator), in.secret, d)
	}
	if known {
		return
	}
	for _, ns := range []string{g.Namespace, in.settings().RootNamespace} {
		found := diag.For(diag.Object{})
		if gateway.CheckCredentials(g, ns, in.secret, found); len(found.All()) == 0 {
			return
		}
	}
	gateway.CheckCredentials(g, in.settings().RootNamespace, in.secret, d)
}
