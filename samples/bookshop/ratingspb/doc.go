// Package ratingspb is the gRPC interface of the bookshop's ratings service,
// generated from ratings.proto. Input: the proto file. Output: messages, a
// client and a server interface. It imports protobuf and grpc alone.
package ratingspb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.71.0 generate --template buf.gen.yaml ratings.proto
