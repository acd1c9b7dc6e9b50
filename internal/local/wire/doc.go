// Package wire carries JSON messages, with open files beside them, over a Unix
// stream socket between two processes of the local mesh.
//
// Inputs: a value and file descriptors. Outputs: the same on the other side. It
// imports the standard library and golang.org/x/sys only.
package wire
