// Package local holds the end-to-end tests of a mesh on this machine: parts
// that are killed, input that is wrong, apps that end, meshes side by side,
// and that nothing is left behind. They need bin/ (make build), an Envoy, and
// root or user namespaces; none of them skips.
//
// Input: bin/, the manifests of testdata, and the guides of docs/guides. It imports
// the sample's load client, weftcli, test/guide and Prometheus's parser alone: what
// it sees is what a user sees.
package local
