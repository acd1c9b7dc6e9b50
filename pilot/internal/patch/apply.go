package patch

import (
	"fmt"
	"slices"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
)

// Target is a resource to edit, and what is known of it beside its message.
type Target struct {
	Message proto.Message // a listener, route table, virtual host or cluster
	Role    model.Role
	Table   string           // of a virtual host
	Chains  map[string]Chain // by name; see Chain
	Hosts   []string         // of the services that lead to an inbound cluster
}

// Result is what became of a resource. A nil Message: it was removed.
type Result struct {
	Message proto.Message
	Hits    []Hit
	Faults  []Fault
}

// Apply edits a resource. The message of t is not changed. If the result of all
// patches is not one that Envoy would take, each that spoils it is left out.
func (l *List) Apply(t Target) Result {
	chosen := l.meant(t)
	if len(chosen) == 0 {
		return Result{Message: t.Message}
	}
	if all := apply(t, chosen); len(all.Faults) == 0 {
		return all
	}
	out := Result{Message: t.Message}
	for _, p := range chosen {
		next := t
		next.Message = out.Message
		one := apply(next, []*patch{p})
		out.Faults = append(out.Faults, one.Faults...)
		if len(one.Faults) > 0 {
			continue
		}
		out.Hits, out.Message = append(out.Hits, one.Hits...), one.Message
		if out.Message == nil {
			break
		}
	}
	return out
}

// meant are the patches that may concern a resource.
func (l *List) meant(t Target) (out []*patch) {
	if l == nil {
		return nil
	}
	for _, p := range l.patches {
		if p.mayEdit(t) {
			out = append(out, p)
		}
	}
	return out
}

func (p *patch) mayEdit(t Target) bool {
	switch m := t.Message.(type) {
	case *cluster.Cluster:
		return p.To == model.ToCluster && p.Op != model.OpAdd && p.picksCluster(t, m)
	case *route.RouteConfiguration:
		return p.To == model.ToRouteTable && p.picksTable(m.GetName(), t.Role)
	case *route.VirtualHost:
		return slices.Contains(familiesOf(p.To), Hosts) && p.picksTable(t.Table, t.Role) && p.picksHost(t.Table, m) && !(p.To == model.ToVirtualHost && p.Op == model.OpAdd)
	case *listener.Listener:
		return slices.Contains(familiesOf(p.To), Listeners) && !(p.To == model.ToListener && p.Op == model.OpAdd) && p.picksListener(m)
	}
	return false
}

// apply edits a copy of a resource, all or nothing.
func apply(t Target, patches []*patch) Result {
	e := newEditor(t)
	var out Result
	for _, p := range patches {
		hit, err := e.edit(p)
		if err != nil {
			return Result{Message: t.Message, Faults: []Fault{p.fault(err)}}
		}
		if hit {
			out.Hits = append(out.Hits, p.hit())
		}
		if e.removed() {
			return out
		}
	}
	if len(out.Hits) == 0 {
		return Result{Message: t.Message}
	}
	m, err := e.close()
	if err != nil {
		return Result{Message: t.Message, Faults: []Fault{patches[0].fault(err)}}
	}
	out.Message = m
	return out
}

// editor edits one resource.
type editor interface {
	// edit applies a patch; it reports whether there was something to edit.
	edit(p *patch) (hit bool, err error)
	removed() bool
	// close gives the result, or says why Envoy would not take it.
	close() (proto.Message, error)
}

func newEditor(t Target) editor {
	switch m := proto.Clone(t.Message).(type) {
	case *cluster.Cluster:
		return &clusterEditor{t: t, c: m}
	case *route.RouteConfiguration:
		return &tableEditor{t: t, table: m}
	case *route.VirtualHost:
		return &hostEditor{t: t, host: m}
	case *listener.Listener:
		return newListenerEditor(t, m)
	}
	panic(fmt.Sprintf("patch: a %T is no resource", t.Message))
}

// items is a list that a patch edits, such as filters. named reports whether an
// item is the one that the patch picks, picked whether it picks any at all.
type items[T proto.Message] struct {
	all    []T
	picked bool
	named  func(T) bool
	merge  func(T) (bool, error)
}

// edit applies a patch to the list.
func (l items[T]) edit(p *patch) ([]T, bool, error) {
	body := func() T { return proto.Clone(p.body).(T) }
	at := l.first()
	switch p.Op {
	case model.OpAdd:
		return append(l.all, body()), true, nil
	case model.OpInsertFirst:
		return l.insert(0, body()), true, nil
	case model.OpInsertBefore, model.OpInsertAfter:
		switch {
		case l.picked && at < 0:
			return l.all, false, nil
		case p.Op == model.OpInsertBefore && !l.picked:
			at = 0
		case p.Op == model.OpInsertAfter && !l.picked:
			at = len(l.all)
		case p.Op == model.OpInsertAfter:
			at++
		}
		return l.insert(at, body()), true, nil
	case model.OpMerge, model.OpMergeReplace:
		return l.mergeAll()
	case model.OpRemove, model.OpReplace:
	}
	if !l.picked {
		return l.all, false, fmt.Errorf("%s needs a match that names which one", p.Op)
	}
	if at < 0 {
		return l.all, false, nil
	}
	if p.Op == model.OpReplace {
		l.all[at] = body()
		return l.all, true, nil
	}
	return l.without(), true, nil
}

func (l items[T]) first() int {
	for i, one := range l.all {
		if l.named(one) {
			return i
		}
	}
	return -1
}

func (l items[T]) insert(at int, one T) []T {
	out := make([]T, 0, len(l.all)+1)
	return append(append(append(out, l.all[:at]...), one), l.all[at:]...)
}

func (l items[T]) without() (out []T) {
	for _, one := range l.all {
		if !l.named(one) {
			out = append(out, one)
		}
	}
	return out
}

func (l items[T]) mergeAll() (_ []T, hit bool, err error) {
	for _, one := range l.all {
		if !l.named(one) {
			continue
		}
		done, err := l.merge(one)
		if err != nil {
			return l.all, false, err
		}
		hit = hit || done
	}
	return l.all, hit, nil
}

// lists says what becomes of lists that a patch merges into.
func (p *patch) lists() bool { return p.Op == model.OpMergeReplace }
