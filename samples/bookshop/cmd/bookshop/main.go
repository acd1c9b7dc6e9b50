// Command bookshop is every service of the bookshop sample, its clients and its
// switch, as subcommands of one binary. Input: flags. Output: the services'
// answers, and JSON on the standard output of the clients. It imports the
// sample's own packages alone, and nothing of the mesh.
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
	root := &cobra.Command{
		Use:           "bookshop",
		Short:         "The services of the bookshop sample, and clients for them",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		// services
		newFrontend(), newDetails(), newReviews(), newRatings(), newGreet(), newIdle(), newIssuer(),
		// clients
		newLoad(), newGRPCLoad(), newGet(), newDial(), newControl(),
		// one-off
		newCerts(),
	)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bookshop:", err)
		os.Exit(1)
	}
}
