// Package cli is the weft command: each subcommand in a file of its own.
//
// In: arguments, a running local mesh (over its socket). Out: text or JSON, and
// exit codes: 0 done, 1 it failed, 2 wrong use; `weft exec` passes the
// command's own. It may import every component, through its door.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/local"
)

// app is what all subcommands share.
type app struct {
	name   string // of the mesh, from --name
	output string // "", "json" or "yaml"
	in     *os.File
	out    io.Writer
	err    io.Writer
}

// usageError is a wrong use of the command line: exit code 2.
type usageError struct{ error }

// exitCode passes a command's exit code on, without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs the command line and returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	root := a.command()
	root.SetArgs(args)
	return a.code(root.ExecuteContext(ctx))
}

// code says an error and gives the exit code for it.
func (a *app) code(err error) int {
	var usage usageError
	var exit exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage):
		fmt.Fprintln(a.err, "error:", err)
		return 2
	}
	fmt.Fprintln(a.err, "error:", err)
	return 1
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "weft",
		Short: "A service mesh that speaks Istio's API, on a laptop and in a cluster",
		Long: "Weft runs Istio's API on stock Envoy. On a laptop, without a cluster:\n\n" +
			"  weft up samples/bookshop     start the mesh of a folder of YAML\n" +
			"  weft ps                      its pods: ready, in sync, hosts ejected\n" +
			"  weft exec frontend -- CMD    run a command in a pod\n" +
			"  weft down                    stop it",
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&a.name, "name", os.Getenv("WEFT_MESH"), "`NAME` of the local mesh; default: $WEFT_MESH, else \"default\"")
	root.AddGroup(&cobra.Group{ID: "local", Title: "The mesh on this machine:"}, &cobra.Group{ID: "look", Title: "Look into it:"})
	root.AddCommand(a.up(), a.down(), a.ps(), a.exec(), a.logs(), a.proxyStatus(), a.proxyConfig(), a.translate(), a.analyze(), a.version())
	return root
}

// exactly and its like make wrong arguments a usage error.
func exactly(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w\nusage: %s", err, c.UseLine())}
		}
		return nil
	}
}

// outputFlag adds -o.
func (a *app) outputFlag(c *cobra.Command, forms ...string) {
	c.Flags().StringVarP(&a.output, "output", "o", "", "`FORM` of the output: "+fmt.Sprint(forms)+"; default: a table")
	check := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		for _, f := range append(forms, "") {
			if a.output == f {
				if check != nil {
					return check(c, args)
				}
				return nil
			}
		}
		return usageError{fmt.Errorf("-o %s: it is one of %v", a.output, forms)}
	}
}

// json prints a value for programs.
func (a *app) json(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows under a heading.
func (a *app) table(rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// connect reaches the mesh that --name names: without it "default", or else
// the only one that runs.
func (a *app) connect() (*local.Client, error) {
	if a.name == "" {
		if names, err := local.List(); err == nil && len(names) == 1 {
			return local.Connect(names[0])
		}
	}
	return local.Connect(a.name)
}
