// Package translate turns what a class of proxies may see into Envoy's
// resources, one file for each kind of resource.
//
// In: a *model.View and nothing else. Out: a snapshot.Snapshot of serialised,
// validated resources with their versions. It is pure: no clock, logger or
// I/O, and equal views give equal bytes. Must not import the mesh's sources,
// istio.io/api or Kubernetes' types.
package translate

import (
	"cmp"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/patch"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// Translator keeps the snapshot of one class up to date at a cost that follows
// the change. It belongs to one goroutine; the snapshots may be shared.
type Translator struct {
	graph  *memo.Graph
	in     cells
	role   model.Role
	trunks trunks
	work   builder // of the entry that is translated
	// patches are what EnvoyFilters do to the class, by patch's keys.
	patches *memo.Derived[memo.Table[*patch.List], *patch.List]
	outs    []*output
	view    *model.View
	last    snapshot.Snapshot
}

// cells are the view's tables as inputs of the graph.
type cells struct {
	shared      *memo.Input[shared] // one entry, with key ""
	clusters    *memo.Input[*model.Cluster]
	assignments *memo.Input[*model.Assignment]
	listeners   *memo.Input[*model.Listener]
	tables      *memo.Input[*model.RouteTable]
	hosts       *memo.Input[*model.VirtualHost]
	names       *memo.Input[*model.Name]
	secrets     *memo.Input[*model.Secret]
	inbound     *memo.Input[*model.Inbound] // one entry, with key ""
	unknown     *memo.Input[string]         // one entry, with key "", of outbound classes
	filters     *memo.Input[*model.EnvoyFilter]
	rights      *memo.Input[*model.Authorization]
	tokens      *memo.Input[*model.TokenPolicy]
	authorizers *memo.Input[*model.AskedAuthorizer]
	reporting   *memo.Input[*model.Reporting] // one entry, with key ""
}

// shared is what every translation may read beside its own entry.
type shared struct {
	*model.Settings
	class class
	// patched: some EnvoyFilter selects the class.
	patched bool
}

// class is all that a translation may know of model.ProxyClass.
type class struct {
	Role                model.Role
	Bare, SelfDiscovery bool
}

// Problem is a resource that Envoy would refuse; its last good state, if there
// was one, stays in the snapshot.
type Problem struct {
	Type, Name string
	Sources    []string // "Kind/namespace/name" of the objects it was made from
	Reason     string
	// Patch is the index in spec.configPatches of the EnvoyFilter in Sources
	// that was left out, so that the resource is as without it; nil: the
	// resource was.
	Patch *int
}

// New returns a Translator for Envoys that has seen no view yet.
func New() *Translator { return For("") }

// For returns a Translator of views of a role that has seen none yet. What is
// not for gRPC is for Envoys.
func For(role model.Role) *Translator {
	t := newTranslator(&memo.Graph{}, role)
	t.outs = outputs(t)
	return t
}

// Fork returns a Translator for a class much like t's. It gives what New would
// give, but holds only what differs from t's, as long as both are shown views
// of the same meshes, t first. Of a resource that Envoy would refuse it keeps
// t's last good state at first. It belongs to the goroutine of t.
func (t *Translator) Fork() *Translator {
	f := newTranslator(t.graph.Fork(), t.role)
	f.outs = outputs(f)
	for i, out := range f.outs {
		out.fork(t.outs[i])
	}
	return f
}

func newTranslator(g *memo.Graph, role model.Role) *Translator {
	t := &Translator{graph: g, role: role, in: cells{
		shared:      memo.NewInput[shared](g),
		clusters:    memo.NewInput[*model.Cluster](g),
		assignments: memo.NewInput[*model.Assignment](g),
		listeners:   memo.NewInput[*model.Listener](g),
		tables:      memo.NewInput[*model.RouteTable](g),
		hosts:       memo.NewInput[*model.VirtualHost](g),
		names:       memo.NewInput[*model.Name](g),
		secrets:     memo.NewInput[*model.Secret](g),
		inbound:     memo.NewInput[*model.Inbound](g),
		unknown:     memo.NewInput[string](g),
		filters:     memo.NewInput[*model.EnvoyFilter](g),
		rights:      memo.NewInput[*model.Authorization](g),
		tokens:      memo.NewInput[*model.TokenPolicy](g),
		authorizers: memo.NewInput[*model.AskedAuthorizer](g),
		reporting:   memo.NewInput[*model.Reporting](g),
	}}
	t.patches = patchLists(t)
	return t
}

func outputs(t *Translator) []*output {
	switch t.role {
	case model.RoleGRPCClient:
		return grpcClientOutputs(t)
	case model.RoleGRPCServer:
		return grpcServerOutputs(t)
	case model.RoleOutbound, model.RoleInbound, model.RoleRouter: // those below
	}
	outs := []*output{
		newOutput(snapshot.Cluster, each(t, t.in.clusters, (*builder).cluster), fixed(t, (*builder).fixedClusters), several(t, t.in.inbound, (*builder).inboundClusters)),
		newOutput(snapshot.Endpoint, each(t, t.in.assignments, (*builder).assignment)),
		newOutput(snapshot.Listener, each(t, t.in.listeners, (*builder).listener), several(t, t.in.unknown, (*builder).virtualOutbound), several(t, t.in.inbound, (*builder).inboundListeners)),
		newOutput(snapshot.Route, each(t, t.in.tables, (*builder).table)),
		newOutput(snapshot.VirtualHost, each(t, t.in.hosts, (*builder).host)),
		newOutput(snapshot.Name, each(t, t.in.names, (*builder).name)),
		newOutput(snapshot.Secret, each(t, t.in.secrets, (*builder).secret), each(t, t.in.secrets, (*builder).secretCA)),
		newOutput(snapshot.Extension),
	}
	for _, o := range outs {
		t.addPatched(o)
	}
	return outs
}

// Snapshot translates a View from nothing.
func Snapshot(view *model.View) snapshot.Snapshot { return For(view.Class.Role).Snapshot(view) }

// Snapshot returns the resources of view. Resources that did not change are
// the same pointers as in the snapshot before.
func (t *Translator) Snapshot(view *model.View) snapshot.Snapshot {
	if view == nil || view == t.view {
		return t.last
	}
	first := t.view == nil
	t.set(view)
	t.graph.Run()
	for _, out := range t.outs {
		out.settle()
		if first || t.last.Of(out.typeURL) != out.good.Table() {
			t.last = t.last.With(out.typeURL, out.good.Table())
		}
	}
	return t.last
}

// Problems returns what the last Snapshot left out, sorted by type and name.
func (t *Translator) Problems() (all []Problem) {
	for _, out := range t.outs {
		for _, p := range out.bad.All() {
			all = append(all, *p...)
		}
	}
	return all
}

func (t *Translator) set(view *model.View) {
	settings := view.Settings
	if settings == nil {
		settings = &model.Settings{}
	}
	of := class{Role: view.Class.Role, Bare: view.Class.Bare, SelfDiscovery: view.Class.SelfDiscovery}
	t.in.shared.Set(memo.Table[shared]{}.With("", shared{Settings: settings, class: of, patched: view.Filters.Len() > 0}))
	t.view = view
	t.in.clusters.Set(view.Clusters)
	t.in.assignments.Set(view.Assignments)
	t.in.listeners.Set(view.Listeners)
	t.in.tables.Set(view.Tables)
	t.in.hosts.Set(view.Hosts)
	t.in.names.Set(view.Names)
	t.in.secrets.Set(view.Secrets)
	t.in.unknown.Set(memo.Table[string]{})
	if view.Class.Role == model.RoleOutbound {
		t.in.unknown.Set(memo.Table[string]{}.With("", cmp.Or(view.Unknown, blackHoleCluster)))
	}
	t.in.filters.Set(view.Filters)
	t.in.rights.Set(view.Authorizations)
	t.in.tokens.Set(view.TokenPolicies)
	t.in.authorizers.Set(view.Authorizers)
	t.in.reporting.Set(memo.Table[*model.Reporting]{})
	if view.Reporting != nil {
		t.in.reporting.Set(memo.Table[*model.Reporting]{}.With("", view.Reporting))
	}
	t.in.inbound.Set(memo.Table[*model.Inbound]{})
	if view.Inbound != nil {
		t.in.inbound.Set(memo.Table[*model.Inbound]{}.With("", view.Inbound))
	}
}

// message is one resource before it is serialised.
type message struct {
	name    string // empty: that of the entry that it is made of
	body    validated
	sources []string
	facts   patch.Target // what patches go by; without the message
	// written, unless it is nil, is the message as it was written by hand, of
	// which Envoy takes all; body is only what it is read as. The builder's next
	// message takes its memory.
	written []byte
}

// validated is what protoc-gen-validate gives every Envoy message.
type validated interface {
	proto.Message
	Validate() error
}

// rendered is a resource, or why Envoy would refuse it. The zero value is none.
type rendered struct {
	resource *snapshot.Resource
	noted    *notes // nil: nothing, as of most
}

// notes are what else there is to know of a resource.
type notes struct {
	problem string
	// gone: a patch removed it.
	gone   bool
	hits   []patch.Hit
	faults []patch.Fault
}

func (r rendered) notes() notes {
	if r.noted == nil {
		return notes{}
	}
	return *r.noted
}

func sameRendered(a, b rendered) bool {
	n, m := a.notes(), b.notes()
	return n.gone == m.gone && slices.Equal(n.hits, m.hits) && slices.Equal(n.faults, m.faults) && n.problem == m.problem && snapshot.Same(a.resource, b.resource) && slices.Equal(a.resource.Sources, b.resource.Sources)
}

// builder makes the messages of one entry. Its methods cannot fail: what is
// wrong with a nested message is kept in errs.
type builder struct {
	shared
	errs []error
	// chains are what the filter chains of an inbound listener are for.
	chains map[string]patch.Chain
	trunks map[any][]byte // nil: none is kept
	// of and r give what is asked for by few; nil: there is none of it.
	of *Translator
	r  *memo.Reader
	// written is the memory of messages that are written by hand.
	written encoder
}

// hand begins a message that is written by hand. There is one at a time.
func (b *builder) hand() *encoder {
	b.written.bytes = b.written.bytes[:0]
	return &b.written
}

// rights gives the AuthorizationPolicies that hold; what asks for them is made
// again when one changes.
func (b *builder) rights() []*model.Authorization {
	if b.of == nil {
		return nil
	}
	return every(b.r, b.of.in.rights)
}

// tokens gives the RequestAuthentications, in the same way.
func (b *builder) tokens() []*model.TokenPolicy {
	if b.of == nil {
		return nil
	}
	return every(b.r, b.of.in.tokens)
}

// authorizers gives those that the rights ask, in the same way.
func (b *builder) authorizers() []*model.AskedAuthorizer {
	if b.of == nil {
		return nil
	}
	return every(b.r, b.of.in.authorizers)
}

// reporting is what the proxies tell; what asks for it is made again when it
// changes.
func (b *builder) reporting() *model.Reporting {
	if b.of != nil {
		if r, ok := memo.Get(b.r, &b.of.in.reporting.Cell, ""); ok {
			return r
		}
	}
	return &model.Reporting{}
}

// pack wraps a nested message.
func (b *builder) pack(m validated) *anypb.Any {
	b.check(m)
	return packed(m)
}

// packed wraps a nested message that needs no check.
func packed(m proto.Message) *anypb.Any {
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: serialised(m)}
}

// render serialises and checks a message.
func (b *builder) render(typeURL string, m message) (out rendered) {
	errs := b.errs
	if m.written != nil {
		out.resource = snapshot.New(typeURL, m.name, m.written, m.sources...)
	} else {
		if err := valid(m.body); err != nil {
			errs = append(errs, err)
		}
		length := steady.Size(m.body)
		out.resource = snapshot.Write(typeURL, m.name, length, func(to []byte) []byte { return appendTo(to, m.body, steadySized) }, m.sources...)
	}
	if len(errs) > 0 {
		out.noted = &notes{problem: errors.Join(errs...).Error()}
	}
	return out
}
