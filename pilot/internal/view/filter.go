package view

import (
	"net/url"
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// filters derives the EnvoyFilters that have a patch for proxies of the class:
// of the root namespace and of their own. Such a one holds only the patches
// that are for them.
func filters(in *inputs, role model.Role) *memo.Derived[*model.EnvoyFilter, *model.EnvoyFilter] {
	return memo.Map(in.graph, &in.filters.Cell, func(r *memo.Reader, _ string, f *model.EnvoyFilter) (*model.EnvoyFilter, bool) {
		if !slices.ContainsFunc(f.Patches, func(p model.Patch) bool { return forRole(p, role) }) {
			return nil, false
		}
		if f.Namespace != in.config(r).RootNamespace && !in.home(r, f.Namespace) || !in.selectedByAny(r, f.Selectors) {
			return nil, false
		}
		left := slices.DeleteFunc(slices.Clone(f.Patches), func(p model.Patch) bool { return !forRole(p, role) || !in.hasMetadata(r, p.Metadata) })
		if len(left) == len(f.Patches) {
			return f, true
		}
		only := *f
		only.Patches = left
		return &only, len(left) > 0
	}, memo.Same(sameFilter))
}

func forRole(p model.Patch, role model.Role) bool { return p.Role == "" || p.Role == role }

// selectedByAny reports whether the proxy has all labels of one of selectors,
// or there is none.
func (in *inputs) selectedByAny(r *memo.Reader, selectors []map[string]string) bool {
	return len(selectors) == 0 || slices.ContainsFunc(selectors, func(s map[string]string) bool { return in.selected(r, s) })
}

func (in *inputs) hasMetadata(r *memo.Reader, want map[string]string) bool {
	for k, v := range want {
		if have, ok := memo.Get(r, &in.proxy.Cell, metadataKey+url.QueryEscape(k)); !ok || have != url.QueryEscape(v) {
			return false
		}
	}
	return true
}

// filterKeys are the labels, and by metadataKey the metadata, by which an
// EnvoyFilter tells proxies of a role apart, as "ROLE|namespace/key".
func filterKeys(f *model.EnvoyFilter) (keys []string) {
	add := func(role model.Role, key string) {
		if key = string(role) + "|" + f.Namespace + "/" + key; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, role := range []model.Role{model.RoleOutbound, model.RoleInbound, model.RoleRouter} {
		for _, p := range f.Patches {
			if !forRole(p, role) {
				continue
			}
			for _, selector := range f.Selectors {
				for k := range selector {
					add(role, k)
				}
			}
			for k := range p.Metadata {
				add(role, metadataKey+k)
			}
		}
	}
	return keys
}
