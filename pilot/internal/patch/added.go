package patch

import (
	"fmt"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
)

// Addition is a resource that a patch makes, or why it does not.
type Addition struct {
	Name    string
	Message proto.Message
	Hit     Hit
	Fault   *Fault // set: there is no Message
}

// Place is where resources are added.
type Place struct {
	Role  model.Role
	Table string // for virtual hosts: the route table
	// Taken reports the names that are in use, Domain the domains of Table.
	Taken, Domain func(string) bool
}

// Added gives the resources of the family that patches add: listeners,
// clusters, the virtual hosts of a route table, extensions. Of extensions the
// last of a name counts, so that a namespace can replace the mesh's; of others
// the first.
func (l *List) Added(at Place) (out []Addition) {
	if l == nil {
		return nil
	}
	index := map[string]int{}
	for _, p := range l.patches {
		if !p.adds(at) {
			continue
		}
		one := Addition{Name: nameOf(p.body), Message: p.body, Hit: p.hit()}
		if i, twice := index[one.Name]; twice && p.To == model.ToExtension {
			out[i] = one
			continue
		} else if err := p.mayAdd(one.Name, twice, at); err != nil {
			fault := p.fault(err)
			one.Message, one.Fault = nil, &fault
		}
		index[one.Name] = len(out)
		out = append(out, one)
	}
	return out
}

// adds reports whether a patch makes a resource. One for any context makes
// listeners and clusters on the client side only, as in Istio.
func (p *patch) adds(at Place) bool {
	switch p.To {
	case model.ToListener, model.ToCluster:
		return p.Op == model.OpAdd && (p.Role != "" || at.Role != model.RoleInbound)
	case model.ToVirtualHost:
		return p.Op == model.OpAdd && at.Table != "" && p.picksTable(at.Table, at.Role)
	case model.ToExtension:
		return true
	default:
		return false
	}
}

func (p *patch) mayAdd(name string, twice bool, at Place) error {
	switch {
	case name == "":
		return fmt.Errorf("it has no name")
	case twice || at.Taken != nil && at.Taken(name):
		return fmt.Errorf("there is a %s %q already; MERGE into it, or REMOVE it first", p.To, name)
	}
	vh, ok := p.body.(*route.VirtualHost)
	if !ok {
		return soundAdded(p.body, at)
	}
	for _, d := range vh.GetDomains() {
		if at.Domain(d) {
			return fmt.Errorf("domain %q is another virtual host's in route table %s", d, at.Table)
		}
	}
	return nil
}

// soundAdded checks a listener as one that was edited.
func soundAdded(body proto.Message, at Place) error {
	l, ok := body.(*listener.Listener)
	if !ok {
		return nil
	}
	e := newListenerEditor(Target{Role: at.Role}, proto.Clone(l).(*listener.Listener))
	for _, c := range e.chains() {
		for _, f := range c.GetFilters() {
			e.manager(f)
		}
	}
	_, err := e.close()
	return err
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case *listener.Listener:
		return m.GetName()
	case *cluster.Cluster:
		return m.GetName()
	case *route.VirtualHost:
		return m.GetName()
	case *core.TypedExtensionConfig:
		return m.GetName()
	}
	return ""
}
