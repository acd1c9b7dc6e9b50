package patch

import (
	"fmt"
	"reflect"
	"slices"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/model"
)

// Family is a kind of resource that patches edit.
type Family string

// The families. Routes of the inbound side are in its listeners.
const (
	Listeners  Family = "listener"
	Tables     Family = "table"
	Hosts      Family = "host"
	Clusters   Family = "cluster"
	Extensions Family = "extension"
)

// List is patches of one family. One that Join gives is in the order in which
// they are applied. A nil List edits nothing.
type List struct {
	patches []*patch
}

// Fault is a patch that was left out, of a resource or of all.
type Fault struct {
	Source string // "EnvoyFilter/namespace/name"
	Index  int    // in its spec.configPatches
	Reason string
}

// Hit is a patch that edited a resource.
type Hit struct {
	Source string // "EnvoyFilter/namespace/name"
	Index  int    // in its spec.configPatches
}

// patch is one that can be applied.
type patch struct {
	model.Patch
	source string
	order  order
	body   proto.Message // nil for OpRemove
}

func (p *patch) hit() Hit { return Hit{p.source, p.Index} }

func (p *patch) fault(err error) Fault { return Fault{p.source, p.Index, err.Error()} }

// familiesOf says in which resources the part is that a patch edits.
func familiesOf(to model.ApplyTo) []Family {
	switch to {
	case model.ToCluster:
		return []Family{Clusters}
	case model.ToExtension:
		return []Family{Extensions}
	case model.ToRouteTable:
		return []Family{Tables, Listeners}
	case model.ToVirtualHost, model.ToRoute:
		return []Family{Hosts, Listeners}
	default:
		return []Family{Listeners}
	}
}

// phase orders the patches of a resource: what is wide before what is in it,
// what makes and removes before what merges, and filter chains last that are
// added whole.
func (p *patch) phase() int {
	merge := 0
	if p.merges() {
		merge = 1
	}
	switch p.To {
	case model.ToRouteTable:
		return 0
	case model.ToVirtualHost:
		return 1
	case model.ToRoute:
		return 3 - merge // what is merged and removed goes before what is added
	case model.ToListenerFilter:
		return 5
	case model.ToFilterChain:
		if p.Op == model.OpAdd {
			return 20
		}
		return 6
	case model.ToNetworkFilter:
		return 7 + merge
	case model.ToHTTPFilter:
		return 9 + merge
	default:
		return 4
	}
}

func (p *patch) merges() bool { return p.Op == model.OpMerge || p.Op == model.OpMergeReplace }

// newBody is an empty message of what a patch edits.
func newBody(to model.ApplyTo) proto.Message {
	switch to {
	case model.ToListener:
		return &listener.Listener{}
	case model.ToListenerFilter:
		return &listener.ListenerFilter{}
	case model.ToFilterChain:
		return &listener.FilterChain{}
	case model.ToNetworkFilter:
		return &listener.Filter{}
	case model.ToHTTPFilter:
		return &hcm.HttpFilter{}
	case model.ToRouteTable:
		return &route.RouteConfiguration{}
	case model.ToVirtualHost:
		return &route.VirtualHost{}
	case model.ToRoute:
		return &route.Route{}
	case model.ToCluster:
		return &cluster.Cluster{}
	case model.ToExtension:
		return &core.TypedExtensionConfig{}
	}
	return nil
}

func (p *patch) read() error {
	if p.Op == model.OpRemove {
		return nil
	}
	body := newBody(p.To)
	if body == nil {
		return fmt.Errorf("%s cannot be patched", p.To)
	}
	if err := parse(p.Value, body); err != nil {
		return err
	}
	whole := (*anypb.Any)(nil)
	if p.merges() {
		whole = partial(body)
	}
	if err := known(body, whole); err != nil {
		return err
	}
	if !p.merges() {
		if err := complete(p.To, body); err != nil {
			return err
		}
	}
	p.body = body
	return nil
}

// Review says what is wrong with the bodies of an object's patches, whatever
// they are applied to: those that cannot be read, and the parts of others that
// no message of Envoy's has.
func Review(f *model.EnvoyFilter) (faults, unknown []Fault) {
	for _, p := range f.Patches {
		one := &patch{Patch: p, source: "EnvoyFilter/" + f.Key()}
		if err := one.read(); err != nil {
			faults = append(faults, one.fault(err))
		} else if err := strict(p.Value, newBody(p.To)); p.Op != model.OpRemove && err != nil {
			unknown = append(unknown, one.fault(err))
		}
	}
	return faults, unknown
}

// Empty reports whether l edits nothing.
func (l *List) Empty() bool { return l == nil || len(l.patches) == 0 }

// Same reports whether both lists do the same.
func Same(a, b *List) bool {
	return a == b || a != nil && b != nil && slices.EqualFunc(a.patches, b.patches, func(p, q *patch) bool {
		return p.source == q.source && p.order == q.order && reflect.DeepEqual(p.Patch, q.Patch)
	})
}
