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
func sameHost(a, b *model.VirtualHost) bool  { return reflect.DeepEqual(a, b) }
func sameListener(a, b *model.Listener) bool { return reflect.DeepEqual(a, b) }
func sameTable(a, b *model.RouteTable) bool  { return *a == *b }
func sameInbound(a, b *model.Inbound) bool   { return reflect.DeepEqual(a, b) }
func sameName(a, b *model.Name) bool {
	return a.Host == b.Host && slices.Equal(a.Addresses, b.Addresses)
}
func sameAssignment(a, b *model.Assignment) bool {
	return a.Cluster == b.Cluster && slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint)
}

func sameEndpoint(a, b *model.Endpoint) bool { return a == b || reflect.DeepEqual(a, b) }

func sameEndpoints(a, b *model.Endpoints) bool { return a == b || reflect.DeepEqual(a, b) }
