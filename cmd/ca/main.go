// Command ca runs Weft's certificate authority; see package ca.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/ca"
)

// version is set by the build.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ca.TakeLogs(slog.Default())
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	opts := ca.Options{Version: version}
	var dnsNames []string
	cmd := &cobra.Command{
		Use:           "ca",
		Short:         "Sign workload certificates for those who prove who they are",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if opts.DNSNames, err = ca.ParseDNSNames(dnsNames); err != nil {
				return fmt.Errorf("--dns-names: %w", err)
			}
			if opts.Kube = opts.Kube || opts.Kubeconfig != ""; opts.Kube && !cmd.Flags().Changed("stop-delay") {
				opts.StopDelay = ca.DefaultStopDelay
			}
			opts.Replica = os.Getenv("POD_NAME")
			return ca.Run(cmd.Context(), opts)
		},
	}
	f := cmd.Flags()
	// Both ports listen on every address by default: in its pod, the CA must be
	// reached by the other pods, and /metrics by Prometheus.
	f.StringVar(&opts.Listen, "listen", ca.DefaultListen, "`HOST:PORT` of the CSR service (TLS)")
	f.StringVar(&opts.Monitoring, "monitoring", ca.DefaultMonitoring, "`HOST:PORT` of /metrics and /ready (plain HTTP)")
	f.StringVar(&opts.TrustDomain, "trust-domain", ca.DefaultTrustDomain, "trust `DOMAIN` of the identities")
	f.StringVar(&opts.Namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), ca.DefaultNamespace), "`NAMESPACE` of the CA itself; default from $POD_NAMESPACE")
	f.BoolVar(&opts.Kube, "kube", false, "have the API server of the pod's cluster prove the callers and keep the key")
	f.StringVar(&opts.Kubeconfig, "kubeconfig", "", "like --kube, for the cluster of a kubeconfig `FILE`")
	f.BoolVar(&opts.OneNamespace, "one-namespace", false, "with --kube, serve the pods of --namespace alone, by rights in it alone")
	f.DurationVar(&opts.StopDelay, "stop-delay", 0, fmt.Sprintf("how long to serve on after SIGTERM, not ready, while a cluster withdraws the endpoint; %v with --kube", ca.DefaultStopDelay))
	f.StringVar(&opts.Store, "store", "", "`DIR` of the signing key and certificates, without --kube; made at the first start")
	f.StringVar(&opts.RootOut, "root-out", "", "`FILE` to write the trusted roots to")
	f.StringVar(&opts.LocalIdentityKey, "local-identity-key", "", "PEM `FILE` with the public key that signs the tokens of local pods")
	f.DurationVar(&opts.DefaultTTL, "ttl", ca.DefaultTTL, "lifetime of certificates when none is asked for")
	f.DurationVar(&opts.MaxTTL, "max-ttl", 0, "longest lifetime granted; longer wishes are cut to it; 0: that of --ttl")
	f.DurationVar(&opts.RootTTL, "root-ttl", ca.DefaultRootTTL, "lifetime of a root that the CA makes itself")
	f.DurationVar(&opts.RotateBefore, "rotate-before", 0, "how long before the end of such a root another one takes its place; 0: when weft ca rotate says so")
	f.DurationVar(&opts.ReportEvery, "report-every", ca.DefaultReportEvery, "how often proxies say what they trust; a rotation takes at least twice as long")
	f.StringSliceVar(&dnsNames, "dns-names", nil, "DNS names of an account, `NAMESPACE/ACCOUNT=NAME`[,NAME...]; no other account gets any")
	return cmd
}
