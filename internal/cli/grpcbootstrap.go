package cli

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/agent/grpcbootstrap"
	agentnode "github.com/weftmesh/weft/internal/agent/node"
)

const grpcBootstrapLong = `Write the file by which a gRPC library that speaks xDS finds the pilot, says who it
is and reads its certificates. In a pod with the annotation
inject.istio.io/templates: grpc-agent the agent writes it; this is for a process
elsewhere. Start that with

  GRPC_XDS_BOOTSTRAP=FILE
  GRPC_EXPERIMENTAL_XDS_SNI=true

By the second a sidecar in PERMISSIVE mode knows the mesh's mutual TLS: without it
calls to such a sidecar fail.

The pilot wants a certificate of the namespace and service account that are named
here: its folder, --certificates, holds cert-chain.pem, key.pem and root-cert.pem,
which may be replaced while the process runs. At the socket of an agent, and with
--plaintext, it wants none; without a folder there is no mutual TLS.`

// grpcFlags are those of grpc-bootstrap.
type grpcFlags struct {
	server, certificates, out, ip string
	plaintext                     bool
	node                          agentnode.Node
	labels                        map[string]string
}

func (a *app) grpcBootstrap() *cobra.Command {
	f := grpcFlags{}
	c := &cobra.Command{
		Use: "grpc-bootstrap", GroupID: "look", Short: "Write the bootstrap of a process whose gRPC library speaks xDS",
		Long: grpcBootstrapLong,
		Example: "  weft grpc-bootstrap --server pilot.example.com:15012 --namespace shop --pod billing-1 \\\n" +
			"    --service-account billing --certificates /etc/billing/tls -o /etc/billing/grpc.json\n" +
			"  weft grpc-bootstrap --server unix:///run/weft/xds.sock",
		Args: exactly(cobra.NoArgs),
		RunE: interruptible(func([]string) error { return a.writeGRPCBootstrap(f) }),
	}
	set := c.Flags()
	set.StringVar(&f.server, "server", "weft-pilot.weft-system.svc:15012", "`SERVER`: HOST:PORT of the pilot, or unix:///PATH of an agent's socket")
	set.StringVar(&f.certificates, "certificates", "", "`FOLDER` of cert-chain.pem, key.pem and root-cert.pem")
	set.BoolVar(&f.plaintext, "plaintext", false, "speak to the pilot without TLS, for debugging")
	set.StringVarP(&f.node.Namespace, "namespace", "n", "default", "`NAMESPACE` of the process")
	set.StringVar(&f.node.Name, "pod", "client", "`NAME` of the process")
	set.StringVar(&f.node.ServiceAccount, "service-account", "default", "`NAME` of its service account")
	set.StringVar(&f.ip, "ip", "127.0.0.1", "its `ADDRESS`")
	set.StringToStringVarP(&f.labels, "labels", "l", nil, "its `LABELS`, NAME=VALUE,...")
	set.StringVar(&f.node.TrustDomain, "trust-domain", "cluster.local", "`DOMAIN` of the mesh's identities")
	set.StringVarP(&f.out, "output", "o", "", "`FILE` to write, of mode 0600; none: standard output")
	return c
}

func (a *app) writeGRPCBootstrap(f grpcFlags) error {
	ip, err := netip.ParseAddr(f.ip)
	if err != nil {
		return usageError{fmt.Errorf("--ip: %w", err)}
	}
	f.node.Role, f.node.IPs, f.node.Labels = agentnode.Sidecar, []netip.Addr{ip}, f.labels
	if f.certificates != "" {
		if f.certificates, err = filepath.Abs(f.certificates); err != nil {
			return fmt.Errorf("--certificates: %w", err)
		}
	}
	text, err := grpcbootstrap.JSON(grpcbootstrap.Config{Node: f.node.WithDefaults(), Server: f.server, Plaintext: f.plaintext, Certificates: f.certificates})
	if err != nil {
		return err
	}
	if f.out == "" {
		_, err = a.out.Write(text)
		return err
	}
	return grpcbootstrap.WriteFile(f.out, text, grpcbootstrap.Nobody)
}
