// Package binaries builds the programs of a test cluster from pinned Go modules,
// once, and keeps them.
//
// Input: the module folders under test/cluster/modules, whose go.mod and go.sum
// pin every version. Output: static programs under
// ${XDG_CACHE_HOME:-~/.cache}/weft/kubernetes/MODULE-HASH/, where HASH is over
// the module's files and the build's flags: another version is another folder.
// It may import only the standard library and golang.org/x/sys.
package binaries
