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
	// filters are the EnvoyFilters that select the class.
	filters *memo.Derived[*model.EnvoyFilter, *model.EnvoyFilter]
	// authorizations are the AuthorizationPolicies that hold for the class.
	authorizations *memo.Derived[*model.Authorization, *model.Authorization]
	// asked are the authorizers that these ask; nil: they can ask none.
	asked *memo.Derived[string, *model.AskedAuthorizer]
	// tokens are the RequestAuthentications that hold for it.
	tokens *memo.Derived[*model.TokenPolicy, *model.TokenPolicy]
	// reporting is what the class tells of what passes it, with key "".
	reporting *memo.Derived[*model.Settings, *model.Reporting]
	mesh      *model.Mesh
	last      *model.View
	// trunk is what the Viewer was forked from; nil: nothing.
	trunk *Viewer
	// own are the settings of, with what the class's pods say in them.
	own, of *model.Settings
}

// side is one role's part of the graph.
type side interface {
	// fill sets the tables of v after a run.
	fill(v *model.View)
}

// New returns a Viewer of class that has seen no mesh yet.
func New(class model.ProxyClass) *Viewer { return newViewer(class, &memo.Graph{}) }

// Common returns the class of which v is a Viewer that Viewers of class should
// be forked from: one of a namespace that has nothing. It reports false where
// the classes of a role share too little. Those that see no more than their
// Sidecar names have one of their own, which sees nothing.
func Common(class model.ProxyClass) (model.ProxyClass, bool) {
	common := model.ProxyClass{Role: class.Role, Bare: class.Bare, SelfDiscovery: class.SelfDiscovery, Proxy: class.Proxy}
	if class.Reach == model.ReachNarrow {
		common.Reach = class.Reach
	}
	return common, class.Role != model.RoleRouter
}

// Fork returns a Viewer of class, of which v's is the Common one. Its Views
// are those of New(class). It holds only what differs from v's, as long as
// both are shown the same meshes, v first. It belongs to the goroutine of v.
func (v *Viewer) Fork(class model.ProxyClass) *Viewer {
	out := newViewer(class, v.in.graph.Fork())
	out.trunk = v
	return out
}

// settings are the mesh's, with what the class's pods say of their own proxies in
// place of what is for all. A fork has its trunk's, as all that they share goes by
// them.
func (v *Viewer) settings(mesh *model.Mesh) *model.Settings {
	switch {
	case !v.class.Proxy.Said || mesh.Settings == nil:
		return mesh.Settings
	case v.trunk != nil:
		return v.trunk.settings(mesh)
	case v.of != mesh.Settings:
		own := *mesh.Settings
		own.ProxySettings = v.class.Proxy.ProxySettings
		v.own, v.of = &own, mesh.Settings
	}
	return v.own
}

func newViewer(class model.ProxyClass, g *memo.Graph) *Viewer {
	v := &Viewer{class: class, in: newInputs(g)}
	v.in.proxy.Set(proxyOf(class))
	v.authorizations = guards(v.in, class.Role, v.in.authorizations)
	v.reporting = telemetries(v.in, class.Role)
	traced := &collectors(v.in, &v.reporting.Cell).Cell
	switch class.Role {
	case model.RoleInbound, model.RoleGRPCServer:
		v.side = newInbound(v.in, class, newCallees(v.in, class, v.with(traced)))
	case model.RoleGRPCClient:
		v.side = newGRPCClient(v.in, class)
	case model.RoleRouter:
		v.side = newRouter(v.in, class, newCallees(v.in, class, v.with(traced)))
	default:
		v.side = newOutbound(v.in, class, newCallees(v.in, class, traced))
	}
	v.filters = filters(v.in, class.Role)
	v.tokens = guards(v.in, class.Role, v.in.tokens)
	return v
}

// with derives what the class's policies ask, beside what else is wanted.
func (v *Viewer) with(more *memo.Cell[wanted]) *memo.Cell[wanted] {
	a := newAuthorizers(v.in, &v.authorizations.Cell)
	v.asked = a.asked
	return &memo.NewUnion(v.in.graph, &a.wanted.Cell, more).Cell
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
	settings := v.settings(mesh)
	v.in.set(mesh, settings)
	v.in.graph.Run()
	next := &model.View{Class: v.class, Settings: settings}
	v.side.fill(next)
	next.Filters = v.filters.Table()
	next.Authorizations = v.authorizations.Table()
	if v.asked != nil {
		next.Authorizers = v.asked.Table()
	}
	next.TokenPolicies = v.tokens.Table()
	next.Reporting, _ = v.reporting.Table().Get("")
	if v.last == nil || !sameView(v.last, next) {
		v.last = next
	}
	return v.last
}

// sameView relies on the tables' structural sharing, so that it costs little
// when both are equal.
func sameView(a, b *model.View) bool {
	return a.Settings == b.Settings && a.Inbound == b.Inbound && a.Reporting == b.Reporting && a.Unknown == b.Unknown &&
		a.Clusters.Equal(b.Clusters) && a.Assignments.Equal(b.Assignments) && a.Listeners.Equal(b.Listeners) &&
		a.Tables.Equal(b.Tables) && a.Hosts.Equal(b.Hosts) && a.Names.Equal(b.Names) && a.Secrets.Equal(b.Secrets) && a.Filters.Equal(b.Filters) &&
		a.Authorizations.Equal(b.Authorizations) && a.Authorizers.Equal(b.Authorizers) && a.TokenPolicies.Equal(b.TokenPolicies)
}

// inputs are the mesh's tables as cells of the graph, and the proxy (see
// proxyOf).
type inputs struct {
	graph           *memo.Graph
	proxy           *memo.Input[string]
	settings        *memo.Input[*model.Settings] // one entry, with key ""
	services        *memo.Input[*model.Service]
	endpoints       *memo.Input[*model.Endpoints]
	policies        *memo.Input[*model.Policy]
	virtualServices *memo.Input[*model.VirtualService]
	gateways        *memo.Input[*model.Gateway]
	peerAuth        *memo.Input[*model.PeerAuth]
	secrets         *memo.Input[*model.Secret]
	sidecars        *memo.Input[*model.Sidecar]
	filters         *memo.Input[*model.EnvoyFilter]
	authorizations  *memo.Input[*model.Authorization]
	tokens          *memo.Input[*model.TokenPolicy]
	telemetries     *memo.Input[*model.Telemetry]
}

func newInputs(g *memo.Graph) *inputs {
	return &inputs{
		graph:           g,
		proxy:           memo.NewInput[string](g),
		settings:        memo.NewInput[*model.Settings](g),
		services:        memo.NewInput[*model.Service](g),
		endpoints:       memo.NewInput[*model.Endpoints](g),
		policies:        memo.NewInput[*model.Policy](g),
		virtualServices: memo.NewInput[*model.VirtualService](g),
		gateways:        memo.NewInput[*model.Gateway](g),
		peerAuth:        memo.NewInput[*model.PeerAuth](g),
		secrets:         memo.NewInput[*model.Secret](g),
		sidecars:        memo.NewInput[*model.Sidecar](g),
		filters:         memo.NewInput[*model.EnvoyFilter](g),
		authorizations:  memo.NewInput[*model.Authorization](g),
		tokens:          memo.NewInput[*model.TokenPolicy](g),
		telemetries:     memo.NewInput[*model.Telemetry](g),
	}
}

func (in *inputs) set(mesh *model.Mesh, settings *model.Settings) {
	in.settings.Set(memo.Table[*model.Settings]{}.With("", settings))
	in.services.Set(mesh.Services)
	in.endpoints.Set(mesh.Endpoints)
	in.policies.Set(mesh.Policies)
	in.virtualServices.Set(mesh.VirtualServices)
	in.gateways.Set(mesh.Gateways)
	in.peerAuth.Set(mesh.PeerAuth)
	in.secrets.Set(mesh.Secrets)
	in.sidecars.Set(mesh.Sidecars)
	in.filters.Set(mesh.EnvoyFilters)
	in.authorizations.Set(mesh.Authorizations)
	in.tokens.Set(mesh.TokenPolicies)
	in.telemetries.Set(mesh.Telemetries)
}

// config reads the mesh's settings as a dependency.
func (in *inputs) config(r *memo.Reader) *model.Settings {
	s, _ := memo.Get(r, &in.settings.Cell, "")
	if s == nil {
		return &model.Settings{}
	}
	return s
}
