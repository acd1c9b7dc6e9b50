package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/xds"

	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// stars implements ratingspb.RatingsServer.
type stars struct {
	ratingspb.UnimplementedRatingsServer
	pod, version string
}

// Get answers any title with five stars, and says who asked.
func (s stars) Get(ctx context.Context, _ *ratingspb.GetRequest) (*ratingspb.GetReply, error) {
	return &ratingspb.GetReply{Stars: 5, Pod: s.pod, Version: s.version, Peer: caller(ctx)}, nil
}

// caller is the identity that the other side proved; empty in clear text.
func caller(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 || len(info.State.PeerCertificates[0].URIs) == 0 {
		return ""
	}
	return info.State.PeerCertificates[0].URIs[0].String()
}

func newServe() *cobra.Command {
	var listen, version string
	c := &cobra.Command{Use: "serve", Short: "Serve until told to end", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return serve(cmd.Context(), listen, version)
	}}
	c.Flags().StringVar(&listen, "listen", ":9000", "address; xDS wants all of them, so a port alone")
	c.Flags().StringVar(&version, "version", "v1", "version to answer with")
	return c
}

func serve(ctx context.Context, listen, version string) error {
	// In clear text, unless the mesh says otherwise.
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	server, err := xds.NewGRPCServer(serverOptions(creds)...)
	if err != nil {
		return err
	}
	pod, err := os.Hostname()
	if err != nil {
		return err
	}
	ratingspb.RegisterRatingsServer(server, stars{pod: pod, version: version})
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	context.AfterFunc(ctx, server.GracefulStop)
	return server.Serve(lis)
}
