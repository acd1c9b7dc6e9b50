// Command ctl brings test clusters up and down by hand: `make cluster-up`,
// `make cluster-down` and `make cluster-shell` call it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/test/cluster"
	"github.com/weftmesh/weft/test/cluster/binaries"
	"github.com/weftmesh/weft/test/repository"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	if err := command().ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{Use: "ctl", Short: "A Kubernetes of one's own, for tests", SilenceUsage: true}
	name := root.PersistentFlags().String("name", "dev", "name of the cluster")
	root.AddCommand(upCommand(name), downCommand(name), shellCommand(name), loadCommand(name), execCommand(name), buildCommand())
	return root
}

func upCommand(name *string) *cobra.Command {
	o := cluster.Options{Detached: true, Progress: progress()}
	var apiOnly bool
	var pool string
	c := &cobra.Command{Use: "up [IMAGE.tar...]", Short: "Bring a cluster up, and load images into its nodes", RunE: func(cmd *cobra.Command, args []string) error {
		o.Name, o.Images = *name, args
		if apiOnly {
			api, err := cluster.StartAPI(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Printf("\nexport KUBECONFIG=%s\n", api.Kubeconfig())
			return nil
		}
		c, err := cluster.Start(cmd.Context(), o)
		if err != nil {
			return err
		}
		if pool != "" {
			if err := c.MetalLB(cmd.Context(), pool); err != nil {
				return err
			}
			o.Progress("MetalLB has addresses " + pool)
		}
		fmt.Printf("\nexport KUBECONFIG=%s\n", c.Kubeconfig())
		return nil
	}}
	c.Flags().StringVar(&pool, "metallb", "", "install MetalLB with these addresses of the LAN, FIRST-LAST; alone: "+cluster.Pool)
	c.Flags().Lookup("metallb").NoOptDefVal = cluster.Pool
	c.Flags().IntVar(&o.Nodes, "nodes", 1, "how many nodes, 1 to 3")
	c.Flags().StringVar(&o.ProxyMode, "proxy-mode", "nftables", "kube-proxy's: nftables or iptables")
	c.Flags().BoolVar(&apiOnly, "api-only", false, "API server and etcd alone; needs no root")
	return c
}

// progress prints lines with the time since the start.
func progress() func(string) {
	start := time.Now()
	return func(line string) { fmt.Printf("%6.1fs  %s\n", time.Since(start).Seconds(), line) }
}

func downCommand(name *string) *cobra.Command {
	var all bool
	c := &cobra.Command{Use: "down", Short: "End a cluster and remove all of it", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		names := []string{*name}
		if all {
			var err error
			if names, err = cluster.Names(); err != nil {
				return err
			}
		}
		for _, n := range names {
			if err := cluster.Down(cmd.Context(), n); err != nil {
				return err
			}
		}
		return nil
	}}
	c.Flags().BoolVar(&all, "all", false, "every cluster of this user")
	return c
}

func loadCommand(name *string) *cobra.Command {
	return &cobra.Command{Use: "load IMAGE.tar...", Short: "Load images into the nodes", Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := cluster.Find(*name)
		if err != nil {
			return err
		}
		for i := range args {
			if args[i], err = filepath.Abs(args[i]); err != nil {
				return err
			}
		}
		return c.LoadImages(cmd.Context(), args...)
	}}
}

func execCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use: "exec MACHINE -- PROGRAM...", Args: cobra.MinimumNArgs(2),
		Short: "Run a program on a machine: node1..., control, or lan (a client outside of the cluster)",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.Find(*name)
			if err != nil {
				return err
			}
			program := attach(exec.CommandContext(cmd.Context(), args[1], args[2:]...))
			if err := c.Inside(args[0], program); err != nil {
				return err
			}
			return program.Run()
		},
	}
}

// attach gives cmd this terminal.
func attach(cmd *exec.Cmd) *exec.Cmd {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func shellCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use: "shell [-- PROGRAM...]", Short: "A shell, or a program, with KUBECONFIG set and kubectl on the PATH",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.Find(*name)
			if err != nil {
				return err
			}
			path := os.Getenv("PATH")
			if _, err := exec.LookPath("kubectl"); err != nil {
				built, err := build(cmd.Context(), "kubectl")
				if err != nil {
					return err
				}
				path = filepath.Dir(built["kubectl"]) + ":" + path
			}
			if len(args) == 0 {
				args = []string{shell()}
			}
			program := attach(exec.CommandContext(cmd.Context(), args[0], args[1:]...))
			program.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "PATH="+path)
			return program.Run()
		},
	}
}

func shell() string {
	if s := os.Getenv("SHELL"); s != "" {
		return s
	}
	return "/bin/sh"
}

func buildCommand() *cobra.Command {
	return &cobra.Command{Use: "build", Short: "Build Kubernetes into the cache, so that nothing has to wait for it", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		_, err := build(cmd.Context(), slices.Concat(binaries.ControlPlane, binaries.Nodes, binaries.MetalLB)...)
		return err
	}}
}

func build(ctx context.Context, names ...string) (map[string]string, error) {
	root, err := repository.Root()
	if err != nil {
		return nil, err
	}
	return binaries.Ensure(ctx, root, progress(), names...)
}
