// Package cli is the weft command: each subcommand in a file of its own.
//
// In: arguments, a running local mesh (over its socket). Out: text or JSON, and
// exit codes: 0 done, 1 it failed, 2 wrong use, 3 the answer to a question is
// no; `weft exec` passes the command's own. It may import every component, through its door.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/local"
)

// app is what all subcommands share.
type app struct {
	version string
	name    string // of the mesh, from --name
	output  string // "", "wide", "json" or "yaml"
	out     io.Writer
	err     io.Writer
}

// usageError is a wrong use of the command line: exit code 2.
type usageError struct{ error }

// interrupted is the exit code of a command that Ctrl-C ended, as a shell's.
const interrupted = exitCode(130)

// interruptible runs what knows nothing of contexts, and leaves it when ctx ends.
func interruptible(run func(args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		done := make(chan error, 1)
		go func() { done <- run(args) }()
		select {
		case err := <-done:
			return err
		case <-c.Context().Done():
			return interrupted
		}
	}
}

// exitCode passes a command's exit code on, without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs the command line and returns its exit code; version is that of the
// build.
func Main(version string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // who interrupts again is not waited for
	a := &app{version: version, out: os.Stdout, err: os.Stderr}
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
	case errors.Is(err, context.Canceled):
		return int(interrupted)
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
		SilenceUsage: true, SilenceErrors: true, Version: a.version, Args: known,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.Flags().Bool("version", false, "show the version")
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("weft {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&a.name, "name", os.Getenv("WEFT_MESH"), "`NAME` of the local mesh where there are several, - for the cluster; default: $WEFT_MESH")
	_ = root.RegisterFlagCompletionFunc("name", meshNames) // fails only where there is no such flag
	root.AddGroup(&cobra.Group{ID: "local", Title: "The mesh on this machine:"}, &cobra.Group{ID: "cluster", Title: "The mesh in a cluster:"},
		&cobra.Group{ID: "look", Title: "Look into it:"})
	root.AddCommand(a.up(), a.down(), a.ps(), a.exec(), a.logs(), a.proxyStatus(), a.proxyConfig(), a.translate(), a.analyze(), a.versionCommand())
	root.AddCommand(a.install(), a.upgrade(), a.check(), a.uninstall(), a.manifest(), a.inject(), a.convert(), a.wait())
	root.AddCommand(a.describe(), a.authz(), a.mtls(), a.workload(), a.grpcBootstrap(), a.ca(), a.stat(), a.edges(), a.top(), a.endpoints(), a.tap(), a.dashboard())
	return root
}

// known refuses a subcommand that there is not, and says which is like it.
func known(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "weft --help lists them"
	if like := c.SuggestionsFor(args[0]); len(like) > 0 {
		hint = "did you mean " + strings.Join(like, ", ") + "?"
	}
	return usageError{fmt.Errorf("there is no command %q; %s", args[0], hint)}
}

// exactly makes wrong arguments a usage error.
func exactly(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if check(c, args) != nil {
			return usageError{fmt.Errorf("wrong number of arguments: %d\nusage: %s", len(args), c.UseLine())}
		}
		return nil
	}
}

// outputFlag adds -o.
func (a *app) outputFlag(c *cobra.Command, forms ...string) {
	c.Flags().StringVarP(&a.output, "output", "o", "", "`FORM` of the output: "+strings.Join(forms, " or ")+"; default: for people")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(forms, cobra.ShellCompDirectiveNoFileComp)) // fails only where there is no such flag
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
		return usageError{fmt.Errorf("-o %s: it may be %s", a.output, strings.Join(forms, " or "))}
	}
}

// json prints a value for programs.
func (a *app) json(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// yaml prints a value for programs that read YAML, with the names of its JSON.
func (a *app) yaml(v any) error {
	text, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(text)
	return err
}

// table prints rows under a heading.
func (a *app) table(rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
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
	if a.name != "" {
		return local.Connect(a.name)
	}
	names, err := local.List()
	switch {
	case err != nil:
		return nil, err
	case len(names) == 1:
		return local.Connect(names[0])
	case len(names) == 0:
		return nil, errors.New("no mesh is running; weft up DIR starts one")
	case !slices.Contains(names, local.DefaultName):
		return nil, fmt.Errorf("several meshes are running: %s; say which with --name", strings.Join(names, ", "))
	}
	return local.Connect(local.DefaultName)
}
