package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
)

func (a *app) exec() *cobra.Command {
	var namespace, container string
	c := &cobra.Command{
		Use: "exec POD -- COMMAND [ARG...]", DisableFlagsInUseLine: true, ValidArgsFunction: a.podNames, GroupID: "local", Short: "Run a command in a pod, with the mesh's folder as working directory",
		Long: "Run a command in a pod: its network, names and identity; its connections go through\n" +
			"the pod's Envoy. POD is a pod, the beginning of one's name, or a Deployment.\n" +
			"The exit code is the command's; 127 if there is no such program, 126 if it cannot run.",
		Example: "  weft exec frontend -- curl -s http://reviews/\n  weft exec legacy -- sh",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 || c.ArgsLenAtDash() != 1 {
				return usageError{errors.New("write the pod, then -- and the command: weft exec POD -- COMMAND [ARG...]")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runExec(cmd.Context(), args, namespace, container)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "`NAMESPACE` of the pod; default: any")
	c.Flags().StringVarP(&container, "container", "c", "", "`CONTAINER` whose user and environment the command gets; default: the first")
	return c
}

func (a *app) runExec(ctx context.Context, args []string, namespace, container string) error {
	mesh, p, err := a.pod(ctx, args[0], namespace)
	if err != nil {
		return err
	}
	st, err := status(ctx, mesh)
	if err != nil {
		return err
	}
	return a.execIn(ctx, mesh, p.Namespace+"/"+p.Name, pod.ExecRequest{Argv: args[1:], Dir: st.Dir, As: container})
}

// execIn runs a command in a pod, "NAMESPACE/NAME", with this process's terminal
// and signals; the error is the command's exit code, if it is not 0.
func (a *app) execIn(ctx context.Context, mesh *local.Client, in string, request pod.ExecRequest) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGWINCH)
	defer signal.Stop(signals)
	namespace, name, _ := strings.Cut(in, "/")
	request.TTY = term.IsTerminal(int(os.Stdin.Fd()))
	exit, err := mesh.Exec(context.WithoutCancel(ctx), local.Exec{
		Namespace: namespace, Pod: name, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals, Request: request,
	})
	if err != nil && exit.Code != 0 {
		fmt.Fprintln(a.err, "error:", err)
		return exitCode(exit.Code)
	}
	if err != nil {
		return err
	}
	if exit.Signal != 0 {
		return exitCode(128 + int(exit.Signal))
	}
	if exit.Code != 0 {
		return exitCode(exit.Code)
	}
	return nil
}
