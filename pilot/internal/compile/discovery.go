package compile

import (
	"errors"

	mesh "istio.io/api/mesh/v1alpha1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// checkDiscovery says what of discoverySelectors config.Discovery cannot read.
func checkDiscovery(in []*mesh.LabelSelector, d *diag.List) {
	_, err := config.Selectors(in)
	if one := (&config.SelectorError{}); errors.As(err, &one) {
		d.Add(diag.Invalid, diag.Path("discoverySelectors").Index(one.Index), "%v; all namespaces are read", one.Err)
	}
}

// entryRules are MeshConfig's serviceEntryVisibility, where it is for sidecars.
type entryRules struct {
	policies  []entryPolicy
	otherwise entryReach
}

// entryPolicy matches where all of its selectors do; a nil one never does.
type entryPolicy struct {
	selectors []labels.Selector
	reach     entryReach
}

// entryReach is how far a ServiceEntry is seen at most.
type entryReach mesh.ServiceEntryVisibility_Visibility

// narrow is what of an export an entry of namespace may have.
func (r entryReach) narrow(v model.Visibility, namespace string) model.Visibility {
	switch mesh.ServiceEntryVisibility_Visibility(r) {
	case mesh.ServiceEntryVisibility_NONE:
		return model.Visibility{None: true}
	case mesh.ServiceEntryVisibility_NAMESPACE:
		if !v.Sees(namespace, namespace) {
			return model.Visibility{None: true}
		}
		return model.Visibility{Private: true, Restricted: true}
	default:
		return v
	}
}

// reach is the first policy's that matches.
func (rules *entryRules) reach(of labels.Set) entryReach {
	for _, p := range rules.policies {
		if p.matches(of) {
			return p.reach
		}
	}
	return rules.otherwise
}

func (p entryPolicy) matches(of labels.Set) bool {
	for _, s := range p.selectors {
		if s == nil || !s.Matches(of) {
			return false
		}
	}
	return true
}

// readEntryRules reads serviceEntryVisibility; nil: it says nothing to sidecars.
// A rule that cannot be read never matches.
//
// Source: istio.io/api mesh/v1alpha1, message ServiceEntryVisibility.
func readEntryRules(in *mesh.ServiceEntryVisibility, d *diag.List) *entryRules {
	at := diag.Path("serviceEntryVisibility")
	if in == nil {
		return nil
	}
	if !in.GetApplyToSidecars() {
		d.Add(diag.NoEffect, at, "without applyToSidecars it is for ambient meshes alone; entries are seen as their exportTo says")
		return nil
	}
	out := &entryRules{otherwise: entryReach(in.GetDefaultVisibility())}
	for i, p := range in.GetPolicies() {
		policy, at := entryPolicy{reach: entryReach(p.GetVisibility())}, at.Field("policies").Index(i).Field("matchingRules")
		for j, rule := range p.GetMatchingRules() {
			s, err := config.Selector(rule.GetNamespaceSelector())
			switch at := at.Index(j); {
			case rule.GetNamespaceSelector() == nil:
				d.Add(diag.Invalid, at, "it has no matcher, so it never matches; give a namespaceSelector")
				s = nil
			case err != nil:
				d.Add(diag.Invalid, at.Field("namespaceSelector"), "%v; it never matches", err)
			}
			policy.selectors = append(policy.selectors, s)
		}
		out.policies = append(out.policies, policy)
	}
	return out
}

// setEntryRules gives the graph what the MeshConfig in force says.
func (c *Compiler) setEntryRules(set config.Set) {
	var rules *entryRules
	o := config.MeshInForce(set)
	if o == c.ruledBy {
		return
	}
	c.ruledBy = o
	if o != nil {
		if in, ok := o.Spec.(*mesh.MeshConfig); ok {
			rules = readEntryRules(in.GetServiceEntryVisibility(), diag.For(o.Ref()))
		}
	}
	var table memo.Table[*entryRules]
	if rules != nil {
		table = table.With("", rules)
	}
	c.entryRules.Set(table)
}

// entryVisibility is how far entries of a namespace are seen at most.
func (s scope) entryVisibility(namespace string) entryReach {
	rules, ok := memo.Get(s.r, &s.c.entryRules.Cell, "")
	if !ok {
		return entryReach(mesh.ServiceEntryVisibility_PUBLIC)
	}
	var own map[string]string
	if o, ok := memo.Get(s.r, s.c.input(config.Namespace), "/"+namespace); ok {
		own = o.Labels
	}
	return rules.reach(config.NamespaceLabels(namespace, own))
}
