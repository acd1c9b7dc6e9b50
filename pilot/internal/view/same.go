package view

import (
	"reflect"
	"slices"

	"github.com/weftmesh/weft/internal/model"
)

// The tests by which a recomputed value counts as unchanged. reflect.DeepEqual
// stops at equal pointers, so that shared parts cost nothing.

func sameEffective(a, b *effective) bool     { return reflect.DeepEqual(a, b) }
func sameCluster(a, b *model.Cluster) bool   { return reflect.DeepEqual(a, b) }
func sameService(a, b *model.Service) bool   { return a == b || reflect.DeepEqual(a, b) }
func sameHost(a, b *model.VirtualHost) bool  { return reflect.DeepEqual(a, b) }
func sameListener(a, b *model.Listener) bool { return reflect.DeepEqual(a, b) }
func samePiece(a, b *piece) bool             { return reflect.DeepEqual(a, b) }
func sameTable(a, b *model.RouteTable) bool  { return *a == *b }
func sameInbound(a, b *model.Inbound) bool   { return reflect.DeepEqual(a, b) }
func sameName(a, b *model.Name) bool {
	return a.Host == b.Host && slices.Equal(a.Addresses, b.Addresses)
}
func sameAssignment(a, b *model.Assignment) bool {
	return a.Cluster == b.Cluster && slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint) && (a.Groups == nil) == (b.Groups == nil) && slices.EqualFunc(a.Groups, b.Groups, sameGroup)
}

func sameGroup(a, b model.Group) bool {
	return a.Locality == b.Locality && a.Priority == b.Priority && a.Weight == b.Weight && slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint)
}

func sameEndpoint(a, b *model.Endpoint) bool { return a == b || reflect.DeepEqual(a, b) }

func sameEndpoints(a, b *model.Endpoints) bool { return a == b || reflect.DeepEqual(a, b) }

func sameFilter(a, b *model.EnvoyFilter) bool { return reflect.DeepEqual(a, b) }

// sameServed: of a server's Gateway only its name and origin are read, so that an
// edit of one server is nothing to the others.
func sameServed(a, b *served) bool {
	return a.key == b.key && a.index == b.index && a.listen == b.listen &&
		a.gateway.Key() == b.gateway.Key() && a.gateway.Origin == b.gateway.Origin && reflect.DeepEqual(a.Server, b.Server)
}
