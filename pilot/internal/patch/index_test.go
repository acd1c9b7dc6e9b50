package patch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/model"
)

var families = []Family{Listeners, Tables, Hosts, Clusters, Extensions}

// listOf is all patches of a family.
func listOf(family Family, filters ...*model.EnvoyFilter) *List {
	var all []*List
	for _, f := range filters {
		for key, l := range Read(f, "root") {
			if strings.HasPrefix(key, string(family)+"/") {
				all = append(all, l)
			}
		}
	}
	return Join(all...)
}

// picks are matches of every kind, of which some are for the resources of
// someResources.
func picks() (all []model.Patch) {
	for _, name := range []string{"", "outbound|80||a.test", "PassthroughCluster", "x"} {
		for _, host := range []string{"", "a.test", "b.test"} {
			for _, port := range []uint32{0, 80, 8080} {
				all = append(all, model.Patch{To: model.ToCluster, Cluster: &model.ClusterPick{Name: name, Service: host, Port: port}})
			}
		}
	}
	for _, to := range []model.ApplyTo{model.ToRouteTable, model.ToVirtualHost, model.ToRoute} {
		for _, name := range []string{"", "80", "http.80", "inbound|8080||"} {
			for _, port := range []uint32{0, 80, 8080} {
				all = append(all, model.Patch{To: to, Table: &model.TablePick{Name: name, Port: port}})
				for _, host := range []model.HostPick{{}, {Name: "a.test:80"}, {Domain: "a"}, {Name: "x"}} {
					all = append(all, model.Patch{To: to, Table: &model.TablePick{Name: name, Port: port, Host: &host}})
				}
			}
		}
	}
	for _, to := range []model.ApplyTo{model.ToListener, model.ToListenerFilter, model.ToFilterChain, model.ToNetworkFilter, model.ToHTTPFilter} {
		for _, name := range []string{"", "0.0.0.0_80", "virtualInbound", "x"} {
			for _, port := range []uint32{0, 80, 8080, 15006} {
				all = append(all, model.Patch{To: to, Listener: &model.ListenerPick{Name: name, Port: port}})
			}
		}
		all = append(all, model.Patch{To: to})
	}
	return append(all, model.Patch{To: model.ToCluster}, model.Patch{To: model.ToRoute})
}

func someResources() []Target {
	at := func(name string, port uint32) *listener.Listener {
		return &listener.Listener{Name: name, Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{PortSpecifier: &core.SocketAddress_PortValue{PortValue: port}}}}}
	}
	return []Target{
		{Role: model.RoleOutbound, Message: &cluster.Cluster{Name: "outbound|80||a.test"}},
		{Role: model.RoleOutbound, Message: &cluster.Cluster{Name: "PassthroughCluster"}},
		{Role: model.RoleInbound, Message: &cluster.Cluster{Name: "inbound|8080||"}, Hosts: []string{"b.test"}},
		{Role: model.RoleOutbound, Message: &route.RouteConfiguration{Name: "80"}},
		{Role: model.RoleRouter, Message: &route.RouteConfiguration{Name: "http.80"}},
		{Role: model.RoleOutbound, Table: "80", Message: &route.VirtualHost{Name: "80/a.test:80", Domains: []string{"a"}}},
		{Role: model.RoleRouter, Table: "http.80", Message: &route.VirtualHost{Name: "http.80/x", Domains: []string{"x"}}},
		{Role: model.RoleOutbound, Message: at("0.0.0.0_80", 80)},
		{Role: model.RoleOutbound, Message: at("virtualOutbound", 15001)},
		{Role: model.RoleInbound, Message: at("virtualInbound", 15006)},
		{Role: model.RoleInbound, Message: at("10.0.0.1_8080", 8080)},
	}
}

// TestKeysFindEveryPatch: a patch that may edit a resource is under one of its
// keys. Only those for route tables in a listener are looked for by what the
// pilot makes: such are on the server side and in virtualOutbound.
func TestKeysFindEveryPatch(t *testing.T) {
	met := 0
	for _, p := range picks() {
		for _, op := range []model.Operation{model.OpMerge, model.OpAdd} {
			one := &patch{Patch: p}
			one.Op = op
			for _, target := range someResources() {
				family, name := named(target)
				if !one.mayEdit(target) || name == "0.0.0.0_80" && slices.Contains(one.keys(Listeners), inTablesKey) {
					continue
				}
				met++
				var under []string
				for _, key := range one.keys(family) {
					under = append(under, keyOf(family, key))
				}
				if have := Keys(family, name, target); !slices.ContainsFunc(under, func(k string) bool { return slices.Contains(have, k) }) {
					t.Errorf("%s %+v of %s is under %q, and %s looks under %q", op, p, family, under, name, have)
				}
			}
		}
	}
	if met < 100 {
		t.Errorf("only %d patches were for something", met)
	}
}

func named(t Target) (Family, string) {
	switch m := t.Message.(type) {
	case *cluster.Cluster:
		return Clusters, m.GetName()
	case *route.RouteConfiguration:
		return Tables, m.GetName()
	case *route.VirtualHost:
		return Hosts, m.GetName()
	case *listener.Listener:
		return Listeners, m.GetName()
	}
	panic("not a resource")
}

// TestPatchesKeepTheirOrder: patches that are found under several keys are
// applied as if they stood in one list.
// Source: Istio, EnvoyFilter.priority: "the patch set in the root namespace is
// applied before the patches in the workload namespace", by age and name.
func TestPatchesKeepTheirOrder(t *testing.T) {
	object := func(namespace, name string, priority int32) *model.EnvoyFilter {
		f := &model.EnvoyFilter{Namespace: namespace, Name: name, Rank: name, Priority: priority}
		for i, pick := range []*model.ClusterPick{nil, {Service: "a.test"}, {Name: "outbound|80||a.test"}, nil} {
			f.Patches = append(f.Patches, model.Patch{Index: i, To: model.ToCluster, Op: model.OpMerge, Value: "{}", Cluster: pick})
		}
		return f
	}
	byKey := map[string][]*List{}
	for _, f := range []*model.EnvoyFilter{object("n", "b", 0), object("n", "a", 0), object("n", "first", -1), object("root", "z", 0), object("root", "last", 9)} {
		for key, l := range Read(f, "root") {
			byKey[key] = append(byKey[key], l)
		}
	}
	var found []*List
	for _, key := range Keys(Clusters, "outbound|80||a.test", Target{}) {
		found = append(found, Join(byKey[key]...))
	}
	var got []string
	for _, p := range Join(found...).patches {
		got = append(got, fmt.Sprint(p.source[len("EnvoyFilter/"):], " ", p.Index))
	}
	var want []string
	for _, f := range []string{"n/first", "root/z", "n/a", "n/b", "root/last"} {
		for i := range 4 {
			want = append(want, fmt.Sprint(f, " ", i))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q; keys %q", got, want, slices.Sorted(maps.Keys(byKey)))
	}
}
