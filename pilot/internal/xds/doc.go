// Package xds serves snapshots to proxies by delta ADS.
//
// In: snapshots by class of proxies (Publish), a Directory that says who a
// proxy is and of which classes, gRPC streams. Out: delta responses, a record
// of every ACK and NACK (Status), metrics. It may import Envoy's discovery
// protos, but no message that translate makes: resources are bytes here. It
// imports neither compile nor view.
//
// A stream holds, for each resource type, the table of what its client was
// sent and of what it acknowledged. Both are persistent tables that share
// their nodes with the class's snapshot, so a stream costs little memory and
// finding what it lacks costs what changed.
//
// Laws kept here (ARCHITECTURE.md): one changed thing is one small delta; the
// same bytes go to all; new clusters and their endpoints go before the routes
// that use them, removed clusters after; a refused resource is rolled back for
// that proxy to its last acknowledged version; endpoints wait for nothing.
package xds
