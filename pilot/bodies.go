package pilot

import (
	"slices"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/patch"
)

// compiler is compile's, which knows no type of Envoy's, with what is to be
// said of the bodies of EnvoyFilters. It belongs to one goroutine.
type compiler struct {
	*compile.Compiler
	seen memo.Table[*model.EnvoyFilter]
	said map[string]*verdict // by "EnvoyFilter/namespace/name"
}

// verdict is what is said of one EnvoyFilter: by compile, and with its bodies.
type verdict struct {
	bodies    []diag.Diagnostic
	base, all *compile.Findings
}

func newCompiler() *compiler {
	return &compiler{Compiler: compile.New(), said: map[string]*verdict{}}
}

// Mesh is compile's, and as incremental.
func (c *compiler) Mesh(set config.Set) compile.Result {
	result := c.Compiler.Mesh(set)
	for ch := range memo.Diff(c.seen, result.Mesh.EnvoyFilters) {
		key := string(config.EnvoyFilter) + "/" + ch.Key
		delete(c.said, key)
		if o, ok := set.Of(config.EnvoyFilter).Get(ch.Key); ok && ch.InNew {
			if list := reviewBodies(o, ch.New); len(list) > 0 {
				c.said[key] = &verdict{bodies: list}
			}
		}
	}
	c.seen = result.Mesh.EnvoyFilters
	for key, v := range c.said {
		base, _ := result.Findings.Get(key)
		if v.all == nil || v.base != base {
			v.base, v.all = base, v.with(base)
		}
		result.Findings = result.Findings.With(key, v.all)
	}
	return result
}

func (v *verdict) with(base *compile.Findings) *compile.Findings {
	if base == nil {
		return &compile.Findings{Object: v.bodies[0].Object, List: v.bodies}
	}
	return &compile.Findings{Object: base.Object, List: slices.Concat(base.List, v.bodies)}
}

func compileMesh(set config.Set) compile.Result { return newCompiler().Mesh(set) }

// reviewBodies reports the patches of an object that cannot be read.
func reviewBodies(o *config.Object, f *model.EnvoyFilter) []diag.Diagnostic {
	d := diag.For(o.Ref())
	faults, unknown := patch.Review(f)
	for _, fault := range faults {
		d.Add(diag.PatchLeftOut, patchPath(fault.Index).Field("patch.value"), "%s", fault.Reason)
	}
	for _, fault := range unknown {
		d.Add(diag.UnknownPart, patchPath(fault.Index).Field("patch.value"), "%s", fault.Reason)
	}
	return d.All()
}

func patchPath(index int) diag.Path { return diag.Path("spec.configPatches").Index(index) }

// patchesOf gathers, over all classes of proxies of a set, what the patches of
// EnvoyFilters came to.
type patchesOf struct {
	chosen map[string]bool // EnvoyFilters that select some class, by "namespace/name"
	edited map[patch.Hit]bool
}

func newPatchesOf() *patchesOf {
	return &patchesOf{chosen: map[string]bool{}, edited: map[patch.Hit]bool{}}
}

func (p *patchesOf) note(view *model.View, edited func() map[patch.Hit]bool) {
	if view.Filters.Len() == 0 {
		return
	}
	for key := range view.Filters.All() {
		p.chosen[key] = true
	}
	for hit := range edited() {
		p.edited[hit] = true
	}
}

// findings reports the patches that edited nothing, in a set that has proxies.
func (p *patchesOf) findings(set config.Set, mesh *model.Mesh) (out []diag.Diagnostic) {
	for key, f := range mesh.EnvoyFilters.All() {
		o, ok := set.Of(config.EnvoyFilter).Get(key)
		if !ok || len(f.Patches) == 0 {
			continue
		}
		d := diag.For(o.Ref())
		if slices.ContainsFunc(f.Patches, func(one model.Patch) bool { return len(one.Metadata) > 0 }) {
			continue // which metadata proxies have is known when they connect
		}
		if !p.chosen[key] {
			d.Add(diag.NobodySelected, "spec", "no proxy that the patches are for is known in %s", f.Namespace)
			out = append(out, d.All()...)
			continue
		}
		faults, _ := patch.Review(f)
		for _, one := range f.Patches {
			broken := slices.ContainsFunc(faults, func(fault patch.Fault) bool { return fault.Index == one.Index })
			if hit := (patch.Hit{Source: "EnvoyFilter/" + key, Index: one.Index}); !broken && !p.edited[hit] {
				d.Add(diag.NoMatch, patchPath(one.Index).Field("match"), "it matches no %s of any proxy that is known", one.To)
			}
		}
		out = append(out, d.All()...)
	}
	return out
}
