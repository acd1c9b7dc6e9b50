package config

import (
	"fmt"
	"iter"
	"maps"

	meshv1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/weftmesh/weft/internal/memo"
)

// systemNamespace is where a control plane stands that is told nothing else.
const systemNamespace = "weft-system"

// Discovery narrows one Set after another to the namespaces that MeshConfig's
// discoverySelectors select: any of them, by the labels of the Namespace. The
// root namespace's objects, which hold for the whole mesh, are always in it, and
// so is what has no namespace. Without selectors, or if one cannot be read, it is
// the whole Set. What one Set costs follows its changes. The zero value has seen
// none; it belongs to one goroutine.
//
// Source: istio.io/api mesh/v1alpha1, MeshConfig.discoverySelectors.
type Discovery struct {
	mesh      *Object // that the selectors are of
	selectors []labels.Selector
	root      string
	in, out   Set // the last
}

// Discovered is Discovery.Set from nothing.
func Discovered(set Set) Set { return new(Discovery).Set(set) }

// Set returns what of a set is looked at.
func (d *Discovery) Set(set Set) Set {
	before := *d
	if d.mesh = MeshInForce(set); d.mesh != before.mesh {
		d.selectors, d.root = nil, systemNamespace
		if in, ok := meshSpec(d.mesh); ok {
			d.selectors, _ = Selectors(in.GetDiscoverySelectors())
			if in.GetRootNamespace() != "" {
				d.root = in.GetRootNamespace()
			}
		}
	}
	switch {
	case len(d.selectors) == 0:
		d.in, d.out = Set{}, Set{}
		return set
	case len(before.selectors) == 0 || before.mesh != d.mesh:
		d.in, d.out = set, d.anew(set)
	default:
		d.in, d.out = set, d.changed(before, set)
	}
	return d.out
}

func (d *Discovery) anew(set Set) (out Set) {
	namespaces := set.Of(Namespace)
	for kind, all := range set.kinds {
		out = out.put(kind, memo.Collect(func(yield func(string, *Object) bool) {
			for key, o := range all.All() {
				if d.selects(namespaces, o.Namespace) && !yield(key, o) {
					return
				}
			}
		}))
	}
	return out
}

// changed is what came out before with what differs now: objects, and all those
// of a namespace that is selected now, or no longer.
func (d *Discovery) changed(before Discovery, set Set) (out Set) {
	out = before.out
	was, is := before.in.Of(Namespace), set.Of(Namespace)
	var turned []string
	for ch := range memo.Diff(was, is) {
		if ns := ch.Key[1:]; before.selects(was, ns) != d.selects(is, ns) {
			turned = append(turned, ns)
		}
	}
	for kind := range bothKinds(before.in, set) {
		table := out.Of(kind)
		for ch := range memo.Diff(before.in.Of(kind), set.Of(kind)) {
			if ch.InNew && d.selects(is, ch.New.Namespace) {
				table = table.With(ch.Key, ch.New)
			} else {
				table = table.Without(ch.Key)
			}
		}
		for _, ns := range turned {
			for key, o := range set.Of(kind).Prefix(ns + "/") {
				if d.selects(is, ns) {
					table = table.With(key, o)
				} else {
					table = table.Without(key)
				}
			}
		}
		out = out.put(kind, table)
	}
	return out
}

func bothKinds(a, b Set) iter.Seq[Kind] {
	all := maps.Clone(a.kinds)
	if all == nil {
		all = map[Kind]memo.Table[*Object]{}
	}
	maps.Copy(all, b.kinds)
	return maps.Keys(all)
}

// selects reports whether objects of a namespace are looked at. A namespace
// without an object, as in a folder, has its name's label alone.
func (d *Discovery) selects(all memo.Table[*Object], namespace string) bool {
	if namespace == "" || namespace == d.root || namespace == systemNamespace {
		return true
	}
	var own map[string]string
	if o, ok := all.Get("/" + namespace); ok {
		own = o.Labels
	}
	for _, s := range d.selectors {
		if s.Matches(NamespaceLabels(namespace, own)) {
			return true
		}
	}
	return false
}

// NamespaceLabels are a namespace's own labels and the one that the API server
// gives to each.
func NamespaceLabels(name string, own map[string]string) labels.Set {
	if _, ok := own[nameLabel]; ok {
		return own
	}
	out := maps.Clone(own)
	if out == nil {
		out = map[string]string{}
	}
	out[nameLabel] = name
	return out
}

const nameLabel = corev1.LabelMetadataName

// Selectors reads label selectors of MeshConfig. The error names the index of
// the first that is none; then there are none at all.
func Selectors(in []*meshv1.LabelSelector) (out []labels.Selector, err error) {
	for i, one := range in {
		s, err := Selector(one)
		if err != nil {
			return nil, &SelectorError{Index: i, Err: err}
		}
		out = append(out, s)
	}
	return out, nil
}

// SelectorError is why one of several selectors cannot be read.
type SelectorError struct {
	Index int
	Err   error
}

func (e *SelectorError) Error() string { return fmt.Sprintf("[%d]: %v", e.Index, e.Err) }
func (e *SelectorError) Unwrap() error { return e.Err }

// Selector reads one label selector of MeshConfig; an empty one selects all.
//
// Source: Kubernetes, "Label selectors".
func Selector(in *meshv1.LabelSelector) (labels.Selector, error) {
	s := &metav1.LabelSelector{MatchLabels: in.GetMatchLabels()}
	for _, e := range in.GetMatchExpressions() {
		s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: e.GetKey(), Operator: metav1.LabelSelectorOperator(e.GetOperator()), Values: e.GetValues(),
		})
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, fmt.Errorf("no label selector: %w", err)
	}
	return out, nil
}

// MeshInForce is the MeshConfig that counts: "/mesh", else the first by key; nil
// if there is none.
func MeshInForce(set Set) *Object {
	all := set.Of(MeshConfig)
	if o, ok := all.Get("/mesh"); ok {
		return o
	}
	for _, o := range all.All() {
		return o
	}
	return nil
}

func meshSpec(o *Object) (*meshv1.MeshConfig, bool) {
	if o == nil {
		return nil, false
	}
	in, ok := o.Spec.(*meshv1.MeshConfig)
	return in, ok
}
