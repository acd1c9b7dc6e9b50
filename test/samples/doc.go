// Package samples holds the end-to-end tests of the folders in samples/: each
// is started by `weft up`, called, and taken down. They need bin/ (make build),
// an Envoy, and root or user namespaces; none of them skips. The demo
// (test/demo) shows more of the bookshop.
//
// Input: bin/ and samples/. It imports the samples' clients and weftcli alone:
// what it sees is what a user sees.
package samples
