// Package view scopes the mesh to a class of proxies: what such a proxy may
// see, with every name resolved.
//
// In: a *model.Mesh and a model.ProxyClass. Out: a *model.View, the only thing
// that a translation may depend on; its tables share every entry that did not
// change. Must not import Envoy's, Istio's or Kubernetes' types.
package view

import (
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Viewer keeps the View of one class up to date at a cost that follows the
// change. It belongs to one goroutine; the Views may be shared.
type Viewer struct {
	class model.ProxyClass
	in    *inputs
	side  side
	mesh  *model.Mesh
	last  *model.View
}

// side is one role's part of the graph.
type side interface {
	// fill sets the tables of v after a run.
	fill(v *model.View)
}

// New returns a Viewer of class that has seen no mesh yet.
func New(class model.ProxyClass) *Viewer {
	v := &Viewer{class: class, in: newInputs()}
	switch class.Role {
	case model.RoleInbound:
		v.side = newInbound(v.in, class)
	case model.RoleRouter:
		v.side = newRouter(v.in, class)
	default:
		v.side = newOutbound(v.in, class)
	}
	return v
}

// Of computes a View from nothing.
func Of(mesh *model.Mesh, class model.ProxyClass) *model.View { return New(class).View(mesh) }

// View returns what the class sees of mesh. Entries that did not change are
// the same pointers as in the View before; if nothing changed, it is the same
// View.
func (v *Viewer) View(mesh *model.Mesh) *model.View {
	if v.mesh == mesh && v.last != nil {
		return v.last
	}
	v.mesh = mesh
	v.in.set(mesh)
	v.in.graph.Run()
	next := &model.View{Class: v.class, Settings: mesh.Settings}
	v.side.fill(next)
	if v.last == nil || !sameView(v.last, next) {
		v.last = next
	}
	return v.last
}

// sameView relies on the tables' structural sharing, so that it costs little
// when both are equal.
func sameView(a, b *model.View) bool {
	return a.Settings == b.Settings && a.Inbound == b.Inbound &&
		a.Clusters.Equal(b.Clusters) && a.Assignments.Equal(b.Assignments) && a.Listeners.Equal(b.Listeners) &&
		a.Tables.Equal(b.Tables) && a.Hosts.Equal(b.Hosts) && a.Names.Equal(b.Names) && a.Secrets.Equal(b.Secrets)
}

// inputs are the mesh's tables as cells of the graph.
type inputs struct {
	graph           *memo.Graph
	settings        *memo.Input[*model.Settings] // one entry, with key ""
	services        *memo.Input[*model.Service]
	endpoints       *memo.Input[*model.Endpoints]
	policies        *memo.Input[*model.Policy]
	virtualServices *memo.Input[*model.VirtualService]
	gateways        *memo.Input[*model.Gateway]
	peerAuth        *memo.Input[*model.PeerAuth]
	secrets         *memo.Input[*model.Secret]
}

func newInputs() *inputs {
	g := &memo.Graph{}
	return &inputs{
		graph:           g,
		settings:        memo.NewInput[*model.Settings](g),
		services:        memo.NewInput[*model.Service](g),
		endpoints:       memo.NewInput[*model.Endpoints](g),
		policies:        memo.NewInput[*model.Policy](g),
		virtualServices: memo.NewInput[*model.VirtualService](g),
		gateways:        memo.NewInput[*model.Gateway](g),
		peerAuth:        memo.NewInput[*model.PeerAuth](g),
		secrets:         memo.NewInput[*model.Secret](g),
	}
}

func (in *inputs) set(mesh *model.Mesh) {
	in.settings.Set(memo.Table[*model.Settings]{}.With("", mesh.Settings))
	in.services.Set(mesh.Services)
	in.endpoints.Set(mesh.Endpoints)
	in.policies.Set(mesh.Policies)
	in.virtualServices.Set(mesh.VirtualServices)
	in.gateways.Set(mesh.Gateways)
	in.peerAuth.Set(mesh.PeerAuth)
	in.secrets.Set(mesh.Secrets)
}

// config reads the mesh's settings as a dependency.
func (in *inputs) config(r *memo.Reader) *model.Settings {
	s, _ := memo.Get(r, &in.settings.Cell, "")
	if s == nil {
		return &model.Settings{}
	}
	return s
}

// union joins tables whose keys may overlap: the earlier part wins. It lives
// outside the graph, since nothing derives from it.
type union[V comparable] struct {
	parts []memo.Table[V]
	all   memo.Table[V]
}

// of returns the union of parts, at the cost of what differs from the call
// before.
func (u *union[V]) of(parts ...memo.Table[V]) memo.Table[V] {
	if u.parts == nil {
		u.parts = make([]memo.Table[V], len(parts))
	}
	if u.all.Len() == 0 {
		u.all = memo.Collect(func(yield func(string, V) bool) {
			for _, part := range parts {
				for k, v := range part.All() {
					if !yield(k, v) {
						return
					}
				}
			}
		})
		copy(u.parts, parts)
		return u.all
	}
	for i, part := range parts {
		for ch := range memo.Diff(u.parts[i], part) {
			u.all = resettle(u.all, ch.Key, parts)
		}
	}
	copy(u.parts, parts)
	return u.all
}

func resettle[V comparable](all memo.Table[V], key string, parts []memo.Table[V]) memo.Table[V] {
	for _, p := range parts {
		if v, ok := p.Get(key); ok {
			return all.With(key, v)
		}
	}
	return all.Without(key)
}
