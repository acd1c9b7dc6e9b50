package shop

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// healthCheckMethod is the method that Kubernetes' gRPC probes call.
// Source: the GRPC Health Checking Protocol.
const healthCheckMethod = grpc_health_v1.Health_Check_FullMethodName

// ratings implements ratingspb.RatingsServer.
type ratings struct {
	ratingspb.UnimplementedRatingsServer
	id Identity
}

// Ratings returns a gRPC server with the ratings service and health checks,
// obeying the switch c.
func Ratings(id Identity, c *Control) *grpc.Server {
	server := grpc.NewServer(grpc.UnaryInterceptor(c.guardCall))
	ratingspb.RegisterRatingsServer(server, ratings{id: id})
	// A new health server says SERVING for the server as a whole.
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	return server
}

// Get answers any title with four stars: the shop has one book.
func (s ratings) Get(ctx context.Context, _ *ratingspb.GetRequest) (*ratingspb.GetReply, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	return &ratingspb.GetReply{Stars: 4, Pod: s.id.Pod, Version: s.id.Version, Peer: peerOf(md)}, nil
}
