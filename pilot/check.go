package pilot

import (
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/translate"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// Resource is one xDS resource as a proxy gets it.
type Resource = snapshot.Resource

// JSON is a resource's body in protobuf's JSON form; a secret's is redacted.
func JSON(r *Resource) []byte { return xds.JSON(r) }

// wouldNack is a resource that the translation makes but Envoy would refuse.
var wouldNack = diag.Finding{Code: "WEFT0201", Severity: diag.Error, Cure: "correct the value that the message names; until then the last good configuration stays"}

// Check returns what is wrong with a set: findings about its objects, sorted,
// and resources that Envoy would refuse, for every class of proxies that the
// set's pods and namespaces make. It has no effect.
func Check(set config.Set) []diag.Diagnostic {
	result := compile.Mesh(set)
	out := append(findings(nil, result), compile.Deployed(set, result.Mesh)...)
	for class := range classesOf(result.Mesh) {
		t := translate.New()
		t.Snapshot(view.Of(result.Mesh, class))
		for _, p := range t.Problems() {
			out = append(out, problem(set, p)...)
		}
	}
	return distinct(out)
}

// distinct sorts findings, and leaves out what is said twice.
func distinct(list []diag.Diagnostic) []diag.Diagnostic {
	diag.Sort(list)
	return slices.Compact(list)
}

// findings lists those of form and of meaning, sorted.
func findings(form []diag.Diagnostic, result compile.Result) []diag.Diagnostic {
	out := slices.Clone(form)
	for _, f := range result.Findings.All() {
		out = append(out, f.List...)
	}
	diag.Sort(out)
	return out
}

// classesOf returns the classes of all known pods, and a plain sidecar's for
// every namespace that has a service.
func classesOf(mesh *model.Mesh) map[model.ProxyClass]struct{} {
	classifier := view.NewClassifier()
	classifier.Update(mesh)
	out := map[model.ProxyClass]struct{}{}
	add := func(p model.Proxy) {
		for _, class := range classifier.Classes(p) {
			out[class] = struct{}{}
		}
	}
	for _, w := range mesh.Workloads.All() {
		for _, sidecar := range []bool{true, false} {
			add(model.Proxy{Proven: true, Sidecar: sidecar, Name: w.Name, Namespace: w.Namespace, Labels: w.Labels})
		}
	}
	for _, s := range mesh.Services.All() {
		add(model.Proxy{Proven: true, Sidecar: true, Namespace: s.Namespace})
	}
	for _, gw := range mesh.Gateways.All() {
		add(model.Proxy{Proven: true, Namespace: gw.Namespace, Labels: gw.Selector})
	}
	return out
}

// problem reports a refused resource at the objects that it was made of.
func problem(set config.Set, p translate.Problem) (out []diag.Diagnostic) {
	for _, name := range p.Sources {
		kind, key, _ := strings.Cut(name, "/")
		o, ok := set.Of(config.Kind(kind)).Get(key)
		if !ok {
			continue
		}
		list := diag.For(o.Ref())
		list.Add(wouldNack, "", "Envoy would refuse %s %s made of it: %s", p.Type, p.Name, p.Reason)
		out = append(out, list.All()...)
	}
	return out
}

// Translate returns what a proxy would get, by type and name, in the order in
// which types are sent. It has no effect.
func Translate(set config.Set, proxy model.Proxy) []*Resource {
	mesh := compile.Mesh(set).Mesh
	byType := map[string]map[string]*Resource{}
	for _, class := range view.Classes(mesh, proxy) {
		snap := translate.Snapshot(view.Of(mesh, class))
		for _, typeURL := range snap.Types() {
			if xds.Withheld(typeURL, proxy) {
				continue
			}
			if byType[typeURL] == nil {
				byType[typeURL] = map[string]*Resource{}
			}
			for name, res := range snap.Of(typeURL).All() {
				if _, taken := byType[typeURL][name]; !taken {
					byType[typeURL][name] = res
				}
			}
		}
	}
	var out []*Resource
	for _, typeURL := range xds.Order() {
		for _, name := range slices.Sorted(maps.Keys(byType[typeURL])) {
			out = append(out, byType[typeURL][name])
		}
	}
	return out
}
