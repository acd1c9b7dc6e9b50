// Package shop holds the services of the bookshop sample: frontend, details,
// reviews and ratings.
//
// Input: the flags of the bookshop command, and requests over HTTP and gRPC.
// Output: JSON answers (Answer) that tell who answered and what identity the
// mesh proved of the caller. The services know nothing of Weft: this package
// may import the standard library, grpc and the sample's own protobuf package,
// and no package of the mesh.
package shop
