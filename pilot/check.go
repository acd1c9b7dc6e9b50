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
	set = config.Discovered(set)
	result := compileMesh(set)
	out := append(findings(nil, result), compile.Deployed(set, result.Mesh)...)
	patches, said, proxyless := newPatchesOf(), map[diag.Diagnostic]bool{}, newProxyless(set, result.Mesh)
	holes := newUnguarded(set)
	for class := range classesOf(set, result.Mesh) {
		t, v := translate.For(class.Role), view.Of(result.Mesh, class)
		t.Snapshot(v)
		patches.note(v, t.Edited)
		proxyless.note(v)
		holes.note(v)
		for _, p := range t.Problems() {
			out = append(out, problem(set, p, said)...)
		}
	}
	out = append(append(out, proxyless.findings()...), holes.out...)
	return distinct(append(out, patches.findings(set, result.Mesh)...))
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

// classesOf returns the classes of all known pods, of those that Deployments
// would make where an EnvoyFilter may select them or they have no Envoy, and a plain sidecar's for
// every namespace that has a service.
func classesOf(set config.Set, mesh *model.Mesh) map[model.ProxyClass]struct{} {
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
			add(model.Proxy{Proven: true, Sidecar: sidecar, Name: w.Name, Namespace: w.Namespace, Labels: w.Labels, Proxyless: w.Proxyless})
		}
	}
	for _, w := range compile.Planned(set) {
		if w.Proxyless || mesh.EnvoyFilters.Len() > 0 {
			add(model.Proxy{Proven: true, Sidecar: true, Namespace: w.Namespace, Labels: w.Labels, Proxyless: w.Proxyless})
			add(model.Proxy{Proven: true, Namespace: w.Namespace, Labels: w.Labels})
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

// problem reports a refused resource at the objects that it was made of. Of a
// patch that is left out of many for one reason the first is named; said keeps
// which were.
func problem(set config.Set, p translate.Problem, said map[diag.Diagnostic]bool) (out []diag.Diagnostic) {
	for _, name := range p.Sources {
		kind, key, _ := strings.Cut(name, "/")
		o, ok := set.Of(config.Kind(kind)).Get(key)
		if !ok {
			continue
		}
		list := diag.For(o.Ref())
		if p.Patch != nil {
			key := diag.Diagnostic{Object: o.Ref(), Path: string(patchPath(*p.Patch)), Message: shortType(p.Type) + p.Reason}
			if said[key] {
				continue
			}
			said[key] = true
			list.Add(diag.PatchLeftOut, patchPath(*p.Patch).Field("patch"), "left out of %s %s: %s", shortType(p.Type), p.Name, p.Reason)
			out = append(out, list.All()...)
			continue
		}
		list.Add(wouldNack, "", "Envoy would refuse %s %s made of it: %s", p.Type, p.Name, p.Reason)
		out = append(out, list.All()...)
	}
	return out
}

// shortType is a type URL without its package.
func shortType(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }

// Translate returns what a proxy would get, by type and name, in the order in
// which types are sent. It has no effect.
func Translate(set config.Set, proxy model.Proxy) []*Resource {
	mesh := compileMesh(set).Mesh
	byType := map[string]map[string][]*Resource{}
	for _, class := range view.Classes(mesh, proxy) {
		snap := translate.Snapshot(view.Of(mesh, class))
		for _, typeURL := range snap.Types() {
			if xds.Withheld(typeURL, proxy) {
				continue
			}
			if byType[typeURL] == nil {
				byType[typeURL] = map[string][]*Resource{}
			}
			for name, res := range snap.Of(typeURL).All() {
				byType[typeURL][name] = append(byType[typeURL][name], res)
			}
		}
	}
	var out []*Resource
	for _, typeURL := range xds.Order() {
		for _, name := range slices.Sorted(maps.Keys(byType[typeURL])) {
			out = append(out, byType[typeURL][name]...)
		}
	}
	return out
}
