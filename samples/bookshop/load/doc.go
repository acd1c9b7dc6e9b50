// Package load sends requests to the bookshop and counts what came back.
//
// Input: a Plan (HTTP) or a GRPCPlan. Output: Outcomes or Lines one by one as
// they end, and a Report or GRPCReport as JSON. It may import the shop's answers and
// protobuf package, grpc and the standard library; nothing of the mesh, which
// it measures from outside.
package load
