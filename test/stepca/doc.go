// Package stepca runs a step-ca, smallstep's server, as its own program does.
//
// Inputs: an intermediate CA as package plugca makes it. Outputs: a server on
// loopback, and the words by which weft-ca has it sign. It imports smallstep's
// packages. Only builds with the tag
// stepcas have it.
package stepca
