// Package guides follows the guides of docs/guides that are for a cluster, word
// for word, on a cluster that each begins with what the one before it left:
// every block of commands is run, and what it prints must be what the guide
// says, but for figures and the random ends of names.
//
// `go test ./test/e2e/guides -args -update` writes what was printed into the
// guides: read the diff before you commit it. Guides for one machine are
// followed by test/local; test/guide reads them all.
package guides
