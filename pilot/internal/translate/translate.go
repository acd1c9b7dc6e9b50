// Package translate turns what a class of proxies may see into Envoy's
// resources, one file for each kind of resource.
//
// In: a *model.View and nothing else. Out: a snapshot.Snapshot of serialised,
// validated resources with their versions. It is pure: no clock, logger or
// I/O, and equal views give equal bytes. Must not import the mesh's sources,
// istio.io/api or Kubernetes' types.
package translate

import (
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// Translator keeps the snapshot of one class up to date at a cost that follows
// the change. It belongs to one goroutine; the snapshots may be shared.
type Translator struct {
	graph *memo.Graph
	in    cells
	outs  []*output
	view  *model.View
	last  snapshot.Snapshot
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
}

// shared is what every translation may read beside its own entry. Of the class
// it has no more than the role, and whether it is bare.
type shared struct {
	*model.Settings
	class model.ProxyClass
}

// Problem is a resource that Envoy would refuse; its last good state, if there
// was one, stays in the snapshot.
type Problem struct {
	Type, Name string
	Sources    []string // "Kind/namespace/name" of the objects it was made from
	Reason     string
}

// New returns a Translator that has seen no view yet.
func New() *Translator {
	t := newTranslator(&memo.Graph{})
	t.outs = outputs(t)
	return t
}

// Fork returns a Translator for a class much like t's. It gives what New would
// give, but holds only what differs from t's, as long as both are shown views
// of the same meshes, t first. Of a resource that Envoy would refuse it keeps
// t's last good state at first. It belongs to the goroutine of t.
func (t *Translator) Fork() *Translator {
	f := newTranslator(t.graph.Fork())
	f.outs = outputs(f)
	for i, out := range f.outs {
		out.fork(t.outs[i])
	}
	return f
}

func newTranslator(g *memo.Graph) *Translator {
	return &Translator{graph: g, in: cells{
		shared:      memo.NewInput[shared](g),
		clusters:    memo.NewInput[*model.Cluster](g),
		assignments: memo.NewInput[*model.Assignment](g),
		listeners:   memo.NewInput[*model.Listener](g),
		tables:      memo.NewInput[*model.RouteTable](g),
		hosts:       memo.NewInput[*model.VirtualHost](g),
		names:       memo.NewInput[*model.Name](g),
		secrets:     memo.NewInput[*model.Secret](g),
		inbound:     memo.NewInput[*model.Inbound](g),
	}}
}

func outputs(t *Translator) []*output {
	return []*output{
		newOutput(snapshot.Cluster, each(t, t.in.clusters, (*builder).cluster), fixed(t, (*builder).fixedClusters), inboundOf(t, (*builder).inboundClusters)),
		newOutput(snapshot.Endpoint, each(t, t.in.assignments, (*builder).assignment)),
		newOutput(snapshot.Listener, each(t, t.in.listeners, (*builder).listener), fixed(t, (*builder).fixedListeners), inboundOf(t, (*builder).inboundListeners)),
		newOutput(snapshot.Route, each(t, t.in.tables, (*builder).table)),
		newOutput(snapshot.VirtualHost, each(t, t.in.hosts, (*builder).host)),
		newOutput(snapshot.Name, each(t, t.in.names, (*builder).name)),
		newOutput(snapshot.Secret, each(t, t.in.secrets, (*builder).secret), each(t, t.in.secrets, (*builder).secretCA)),
	}
}

// Snapshot translates a View from nothing.
func Snapshot(view *model.View) snapshot.Snapshot { return New().Snapshot(view) }

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
			all = append(all, *p)
		}
	}
	return all
}

func (t *Translator) set(view *model.View) {
	settings := view.Settings
	if settings == nil {
		settings = &model.Settings{}
	}
	class := model.ProxyClass{Role: view.Class.Role, Bare: view.Class.Bare}
	t.in.shared.Set(memo.Table[shared]{}.With("", shared{Settings: settings, class: class}))
	t.view = view
	t.in.clusters.Set(view.Clusters)
	t.in.assignments.Set(view.Assignments)
	t.in.listeners.Set(view.Listeners)
	t.in.tables.Set(view.Tables)
	t.in.hosts.Set(view.Hosts)
	t.in.names.Set(view.Names)
	t.in.secrets.Set(view.Secrets)
	t.in.inbound.Set(memo.Table[*model.Inbound]{})
	if view.Inbound != nil {
		t.in.inbound.Set(memo.Table[*model.Inbound]{}.With("", view.Inbound))
	}
}

// message is one resource before it is serialised.
type message struct {
	name    string
	body    validated
	sources []string
}

// validated is what protoc-gen-validate gives every Envoy message.
type validated interface {
	proto.Message
	Validate() error
}

// rendered is a resource, or why Envoy would refuse it.
type rendered struct {
	resource *snapshot.Resource
	problem  string
}

func sameRendered(a, b *rendered) bool {
	return a.problem == b.problem && snapshot.Same(a.resource, b.resource) && slices.Equal(a.resource.Sources, b.resource.Sources)
}

// builder makes the messages of one entry. Its methods cannot fail: what is
// wrong with a nested message is kept in errs.
type builder struct {
	shared
	errs []error
}

// pack wraps a nested message.
func (b *builder) pack(m validated) *anypb.Any {
	if err := m.Validate(); err != nil {
		b.errs = append(b.errs, err)
	}
	return packed(m)
}

// packed wraps a nested message that needs no check.
func packed(m proto.Message) *anypb.Any {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("translate: a message made here cannot be serialised: " + err.Error())
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: body}
}

// render serialises and checks a message.
func (b *builder) render(typeURL string, m message) *rendered {
	errs := b.errs
	if err := m.body.Validate(); err != nil {
		errs = append(errs, err)
	}
	out := &rendered{resource: snapshot.New(typeURL, m.name, packed(m.body).GetValue(), m.sources...)}
	if len(errs) > 0 {
		out.problem = errors.Join(errs...).Error()
	}
	return out
}
