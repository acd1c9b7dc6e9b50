// Package command is the agent's command line: flags and the pod's environment
// become agent.Options.
//
// Inputs: arguments and environment variables, named as Istio's where Istio
// has them. Output: a cobra command. It decides nothing by itself, and imports
// only what the agent may.
package command

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/agent"
	"github.com/weftmesh/weft/internal/agent/node"
)

// New is the agent's root command. version is what `agent version` prints and
// the node metadata state.
func New(version string) *cobra.Command {
	root := &cobra.Command{
		Use:           "agent",
		Short:         "Run the proxy of a pod: Envoy, its configuration, certificates and names",
		SilenceUsage:  true,
		SilenceErrors: true, // main prints them, once
	}
	proxy := &cobra.Command{Use: "proxy", Short: "Run a proxy, or what a process that is its own needs"}
	proxy.AddCommand(
		proxyCommand(node.Sidecar, version, "Run the sidecar of an app"),
		proxyCommand(node.Router, version, "Run a gateway"),
		grpcCommand(version),
	)
	root.AddCommand(proxy, drainCommand(), waitCommand(), &cobra.Command{
		Use: "version", Short: "Print the agent's version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	})
	return root
}

const proxyLong = `Run Envoy as the %s of this pod, and all it needs: the certificate of the
workload, the configuration from the pilot, the pod's DNS, health and metrics.

SIGTERM drains and stops; a second SIGTERM cuts the drain short. SIGUSR1, as
POST /drain on the status port, drains and stays, so that the app can end while
its own calls still go out. An agent that is killed leaves Envoy running, and
the next one in the same --run-dir takes it over.

Environment:
  POD_NAME, POD_NAMESPACE      who the pod is (required)
  INSTANCE_IP                  its addresses, comma separated, primary first (required)
  SERVICE_ACCOUNT              its account (default)
  TRUST_DOMAIN                 of its identity (cluster.local)
  ISTIO_META_CLUSTER_ID        the cluster's name (Kubernetes)
  ISTIO_META_MESH_ID           the mesh's name (the trust domain)
  ISTIO_META_WORKLOAD_NAME     name of the controller (the pod's name)
  ISTIO_META_ENABLE_SELF_DISCOVERY  true: Envoy is told in which zones the others
                               of its workload are, for zone-aware balancing
  ISTIO_METAJSON_LABELS        the pod's labels, a JSON object
  SECRET_TTL                   validity of certificates to ask for, such as 24h (the CA's)
  ISTIO_PROMETHEUS_ANNOTATIONS where the app's metrics are: {"scrape","path","port"}
  ISTIO_KUBE_APP_PROBERS       the app's own probes, a JSON object by /app-health/ path`

func proxyCommand(role node.Role, version, short string) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   string(role),
		Short: short,
		Long:  fmt.Sprintf(proxyLong, role),
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), role, version)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

// run is the agent of the pod whose environment this is, until it is stopped.
func (f *flags) run(ctx context.Context, role node.Role, version string) error {
	pod, err := readPod(role, version, os.Getenv)
	if err != nil {
		return err
	}
	options, err := f.options(pod, os.Getenv)
	if err != nil {
		return err
	}
	options.Log = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: f.logLevel}))
	return runUntilSignal(ctx, options)
}

// runUntilSignal turns SIGUSR1 into a drain, the first SIGTERM or SIGINT into a
// drained stop and the second into a quick one. SIGPIPE is ignored, here and,
// since that is inherited, in Envoy: a reader of our output that goes away ends
// neither.
func runUntilSignal(ctx context.Context, options agent.Options) error {
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	defer signal.Stop(signals)
	drain, beginDrain := context.WithCancel(ctx)
	defer beginDrain()
	quit, stop := context.WithCancel(ctx)
	defer stop()
	hurry, cut := context.WithCancel(ctx)
	defer cut()
	go func() {
		for {
			select {
			case s := <-signals:
				switch {
				case s == syscall.SIGUSR1:
					beginDrain()
				case quit.Err() == nil:
					stop()
				default:
					cut()
				}
			case <-hurry.Done():
				return
			}
		}
	}()
	return agent.Run(agent.Orders{Drain: drain, Quit: quit, Hurry: hurry}, options)
}
