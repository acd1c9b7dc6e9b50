// Package snapshot holds what a class of proxies gets: named, serialised
// resources with a hash of their content as version.
//
// In: serialised Envoy messages. Out: Snapshot, immutable and cheap to compare
// with another. Imports: memo, the standard library and the type of gRPC's
// buffers; no Envoy protos.
package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"google.golang.org/grpc/mem"

	"github.com/weftmesh/weft/internal/memo"
)

// Type URLs of the resources that the pilot serves.
const (
	Cluster     = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	Endpoint    = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	Listener    = "type.googleapis.com/envoy.config.listener.v3.Listener"
	Route       = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	VirtualHost = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	Secret      = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	Extension   = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	Name        = "type.googleapis.com/envoy.data.dns.v3.DnsTable.DnsVirtualDomain"
)

// Resource is one xDS resource: serialised once, the same bytes for all.
type Resource struct {
	Type    string
	Name    string
	Version string          // 16 hex digits of the SHA-256 of Body
	Body    []byte          // the serialised message, to be wrapped in an Any of Type
	Sources []string        // "Kind/namespace/name" of the objects it was made from, for status
	wire    mem.SliceBuffer // Body shares its memory
	// Plain is the resource as it is without EnvoyFilters, for a proxy that
	// refuses it and has no older one; nil: none edits it.
	Plain *Resource
}

// Wire is Body with all that goes around it in a delta response, so that a push
// copies and encodes nothing, and makes nothing for each stream.
func (r *Resource) Wire() mem.Buffer { return &r.wire }

// New makes a resource and computes its version. It copies body.
func New(typeURL, name string, body []byte, sources ...string) *Resource {
	return Write(typeURL, name, len(body), func(to []byte) []byte { return append(to, body...) }, sources...)
}

// Write makes a resource and computes its version. write appends its body, of
// length bytes, to what goes before it, so that the body is never copied.
func Write(typeURL, name string, length int, write func(to []byte) []byte, sources ...string) *Resource {
	r := &Resource{Type: typeURL, Name: name, Sources: sources}
	wire, version := head(typeURL, name, length)
	whole := write(wire)
	r.Body, r.wire = whole[len(wire):], whole
	sum := sha256.Sum256(r.Body)
	hex.Encode(version, sum[:versionLength/2])
	r.Version = string(version)
	return r
}

// Same reports whether both are the same resource with equal content.
func Same(a, b *Resource) bool {
	return a == b || a != nil && b != nil && a.Type == b.Type && a.Name == b.Name && a.Version == b.Version
}

// Snapshot is all resources of one class of proxies, by type and name. The
// zero Snapshot is empty.
type Snapshot struct {
	types map[string]memo.Table[*Resource]
}

// Of returns the resources of a type by name.
func (s Snapshot) Of(typeURL string) memo.Table[*Resource] { return s.types[typeURL] }

// Types returns the type URLs that have a table, sorted.
func (s Snapshot) Types() []string { return slices.Sorted(maps.Keys(s.types)) }

// With returns a snapshot whose resources of a type are t.
func (s Snapshot) With(typeURL string, t memo.Table[*Resource]) Snapshot {
	types := maps.Clone(s.types)
	if types == nil {
		types = map[string]memo.Table[*Resource]{}
	}
	types[typeURL] = t
	return Snapshot{types: types}
}
