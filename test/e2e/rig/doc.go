// Package rig is what tests of the mesh on a real cluster have in common: two
// nodes with the images of this tree, its weft, kubectl, and Weft installed. It
// imports install and test/cluster, and of the components nothing.
package rig
