package appprobe

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// askGRPC asks the app's health service without TLS, as the kubelet does.
func (h *Handler) askGRPC(ctx context.Context, p *GRPC, userAgent string) error {
	conn, err := grpc.NewClient("passthrough:///"+h.address("", p.Port),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithUserAgent(userAgent), grpc.WithContextDialer(h.dial))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: p.Service})
	if err != nil {
		return err
	}
	if s := answer.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("the app says %s", s)
	}
	return nil
}
