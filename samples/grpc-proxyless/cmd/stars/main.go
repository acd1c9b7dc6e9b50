// Command stars is a gRPC server and a client of the sample, as subcommands of
// one binary: plain grpc-go programs that get routes, policies and mTLS by xDS.
// Input: flags, and the bootstrap file that GRPC_XDS_BOOTSTRAP names. Output: the
// server's answers, and JSON on the client's standard output. It imports nothing
// of the mesh.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "stars", Short: "A gRPC server that speaks xDS, and a client", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newServe(), newCall(), &cobra.Command{
		Use: "idle", Short: "Do nothing until told to end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			<-cmd.Context().Done()
			return nil
		},
	})
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stars:", err)
		os.Exit(1)
	}
}
