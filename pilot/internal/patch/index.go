package patch

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/internal/model"
)

// Patches are found by keys: each says what a patch's match surely asks of a
// resource, and each resource knows under which keys there may be some for it.
// So an edit of a patch concerns the resources of its key, and of others
// nothing is read. Which of them are really meant, mayEdit says.
const (
	anyKey      = ""        // of a family, whatever the resource
	addedKey    = "+"       // makes a resource
	nameKey     = "name="   // of that name
	serviceKey  = "host="   // a cluster of that host
	tableKey    = "table="  // a virtual host in that table
	portKey     = "port="   // on that port
	virtualKey  = "virtual" // the listeners that take what was captured
	inTablesKey = "tables"  // listeners with route tables in them
)

// Read gives the patches of an object that can be applied, by key. Review says
// why others cannot. root is the root namespace, whose EnvoyFilters go first.
func Read(f *model.EnvoyFilter, root string) map[string]*List {
	out := map[string]*List{}
	for _, p := range f.Patches {
		one := &patch{Patch: p, source: "EnvoyFilter/" + f.Key(), order: orderOf(f, root)}
		if one.read() != nil {
			continue
		}
		for _, family := range familiesOf(p.To) {
			for _, key := range one.keys(family) {
				key = keyOf(family, key)
				if out[key] == nil {
					out[key] = &List{}
				}
				out[key].patches = append(out[key].patches, one)
			}
		}
	}
	return out
}

func keyOf(family Family, key string) string { return string(family) + "/" + key }

// Additions is the key of what makes resources of a family.
func (f Family) Additions() string { return keyOf(f, addedKey) }

// Join gives the patches of all lists in the order in which they are applied.
// It may give one of the lists.
func Join(lists ...*List) *List {
	lists = slices.DeleteFunc(lists, (*List).Empty)
	switch len(lists) {
	case 0:
		return nil
	case 1:
		if slices.IsSortedFunc(lists[0].patches, inOrder) {
			return lists[0]
		}
	}
	out := &List{}
	for _, l := range lists {
		out.patches = append(out.patches, l.patches...)
	}
	slices.SortStableFunc(out.patches, inOrder)
	out.patches = slices.CompactFunc(out.patches, func(p, q *patch) bool { return p.hit() == q.hit() })
	return out
}

// order is that of objects: by priority, then the root namespace's, then the
// older, then by name. Source: EnvoyFilter.priority of istio.io/api and Istio's
// PushContext.EnvoyFilters.
type order struct {
	priority int32
	level    int // 0: of the root namespace, 1: of another
	rank     string
}

func orderOf(f *model.EnvoyFilter, root string) order {
	out := order{f.Priority, 1, f.Rank}
	if f.Namespace == root {
		out.level = 0
	}
	return out
}

// inOrder compares patches by when they are applied.
func inOrder(p, q *patch) int {
	a, b := p.order, q.order
	return cmp.Or(p.phase()-q.phase(), cmp.Compare(a.priority, b.priority), a.level-b.level, cmp.Compare(a.rank, b.rank), cmp.Compare(p.source, q.source), p.Index-q.Index)
}

// keys are those under which a patch is found. A resource that it is for has
// one of them.
func (p *patch) keys(family Family) []string {
	switch {
	case family == Extensions, p.Op == model.OpAdd && makes[p.To] == family:
		return []string{addedKey}
	case family == Clusters:
		return []string{p.clusterKey()}
	case family == Listeners:
		return p.listenerKeys()
	default:
		return []string{p.tableKey(family)}
	}
}

// makes are the families of which OpAdd makes a resource.
var makes = map[model.ApplyTo]Family{model.ToListener: Listeners, model.ToCluster: Clusters, model.ToVirtualHost: Hosts}

func (p *patch) clusterKey() string {
	switch pick := p.Cluster; {
	case pick == nil:
		return anyKey
	case pick.Name != "":
		return nameKey + pick.Name
	case pick.Service != "":
		return serviceKey + pick.Service
	case pick.Port != 0:
		return keyOfPort(pick.Port)
	}
	return anyKey
}

func (p *patch) tableKey(family Family) string {
	pick := p.Table
	switch {
	case pick == nil:
		return anyKey
	case family == Hosts && pick.Host != nil && pick.Host.Name != "":
		return nameKey + pick.Host.Name
	case family == Hosts && pick.Name != "":
		return tableKey + pick.Name
	case pick.Name != "":
		return nameKey + pick.Name
	case pick.Port != 0:
		return keyOfPort(pick.Port)
	}
	return anyKey
}

func (p *patch) listenerKeys() []string {
	pick := p.Listener
	switch {
	case p.To == model.ToRouteTable, p.To == model.ToVirtualHost, p.To == model.ToRoute:
		return []string{inTablesKey}
	case pick == nil:
		return []string{anyKey}
	case pick.Name != "":
		return []string{nameKey + pick.Name}
	case pick.Port == 0:
		return []string{anyKey}
	case p.To == model.ToListener:
		return []string{keyOfPort(pick.Port)}
	default: // the chains of virtual listeners have ports of their own
		return []string{keyOfPort(pick.Port), virtualKey}
	}
}

func keyOfPort(port uint32) string { return portKey + strconv.FormatUint(uint64(port), 10) }

// Keys are those under which there may be patches of a family for the resource
// of a name. Of a listener t has the message, of others it may lack it.
func Keys(family Family, name string, t Target) []string {
	keys := []string{anyKey}
	switch family {
	case Clusters:
		port, _, hosts := partsOfCluster(name, t.Hosts)
		keys = append(keys, nameKey+name, keyOfPort(port))
		for _, h := range hosts {
			keys = append(keys, serviceKey+h)
		}
	case Tables:
		port, _, _ := partsOfTable(name)
		keys = append(keys, nameKey+name, keyOfPort(port))
	case Hosts:
		port, _, _ := partsOfTable(t.Table)
		keys = append(keys, nameKey+strings.TrimPrefix(name, t.Table+"/"), tableKey+t.Table, keyOfPort(port))
	case Listeners:
		l, _ := t.Message.(*listener.Listener)
		keys = append(keys, nameKey+name, keyOfPort(l.GetAddress().GetSocketAddress().GetPortValue()))
		if virtual(l) {
			keys = append(keys, virtualKey)
		}
		if virtual(l) || t.Role == model.RoleInbound {
			keys = append(keys, inTablesKey)
		}
	case Extensions:
	}
	for i, key := range keys {
		keys[i] = keyOf(family, key)
	}
	return keys
}
