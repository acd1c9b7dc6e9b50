package command

import (
	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/agent/node"
)

const grpcLong = `Serve the processes of this pod whose gRPC library speaks xDS, without Envoy: write
grpc-bootstrap.json and the workload's certificate, key and roots into --run-dir,
renew them, and relay the configuration from the pilot by a socket there.

Everything in --run-dir is for this user alone, so run the agent as the user of
the processes, or with --group-access in a group that they are in too. Start them
with
  GRPC_XDS_BOOTSTRAP=RUN-DIR/grpc-bootstrap.json
  GRPC_EXPERIMENTAL_XDS_SNI=true
once /healthz/ready answers 200 at the status port.

Environment: that of "agent proxy sidecar", which see, as far as it is about who the
pod is.`

// grpcCommand runs an agent without Envoy.
func grpcCommand(version string) *cobra.Command {
	f := flags{proxyless: true}
	cmd := &cobra.Command{
		Use: "grpc", Short: "Serve processes whose gRPC library speaks xDS, without Envoy", Long: grpcLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), node.Sidecar, version)
		},
	}
	f.registerMesh(cmd.Flags())
	cmd.Flags().BoolVar(&f.groupAccess, "group-access", false, "open --run-dir to this process's group, for processes of other users in it")
	return cmd
}
