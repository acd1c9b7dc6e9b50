package compile

import (
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// balancerSetting is the annotation, or else the label, that chooses the load
// balancer of a Service, of a Namespace's services, or, on MeshConfig's object,
// of all.
const balancerSetting = "weft.mesh/load-balancer"

// namespace is what a Namespace says for its services.
type namespace struct {
	name     string
	balancer model.LBAlgorithm
	hosts    []string // that its objects may claim beside its own services
}

// compileNamespace reads a Namespace; nil: it says nothing.
func compileNamespace(o *config.Object, _ scope, d *diag.List) *namespace {
	n := &namespace{name: o.Name, balancer: ownBalancer(o, d), hosts: granted(o, d)}
	if n.balancer == model.LBDefault && len(n.hosts) == 0 {
		return nil
	}
	return n
}

// balancer is that of a Service: its own, else its namespace's, else the mesh's.
func (s scope) balancer(o *config.Object, d *diag.List) model.LBAlgorithm {
	if own := ownBalancer(o, d); own != model.LBDefault {
		return own
	}
	if n, ok := memo.Get(s.r, &s.c.namespaces.values.Cell, o.Namespace); ok && n.balancer != model.LBDefault {
		return n.balancer
	}
	return s.settings().Balancer
}

// ownBalancer is what an object says itself; LBDefault: nothing.
func ownBalancer(o *config.Object, d *diag.List) model.LBAlgorithm {
	text, at := o.Annotations[balancerSetting], diag.Path("metadata.annotations")
	if text == "" {
		text, at = o.Labels[balancerSetting], "metadata.labels"
	}
	if text == "" {
		return model.LBDefault
	}
	for _, known := range []model.LBAlgorithm{model.LBLatency, model.LBLeastRequest, model.LBRoundRobin, model.LBRandom} {
		if strings.TrimSpace(text) == known.String() {
			return known
		}
	}
	d.Add(diag.BadAnnotation, at, "%s: %q is none of LATENCY_AWARE, LEAST_REQUEST, ROUND_ROBIN and RANDOM; it has no effect", balancerSetting, text)
	return model.LBDefault
}
