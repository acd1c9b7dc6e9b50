package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/internal/local/pod"
)

func (a *app) workloadRun() *cobra.Command {
	call := controller.MachineCall{}
	c := &cobra.Command{
		Use: "run GROUP -- COMMAND [ARG...]", DisableFlagsInUseLine: true, Short: "Run a process of this terminal as a workload of the running local mesh",
		Long: "Run a process of your own in a local mesh that is up: from a terminal, a debugger, a script.\n" +
			"It becomes a WorkloadEntry of the group, with an address, a token and an Envoy of its own, and\n" +
			"keeps this terminal, folder, environment and user. Services that select the group's labels send\n" +
			"it requests, if the group's probe finds it well; it calls services by their names. When it ends,\n" +
			"it has left the mesh. The exit code is the command's.",
		Example: "  weft workload run legacy -n shop -- ./carts --port 8080",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 || c.ArgsLenAtDash() != 1 {
				return usageError{errors.New("write the WorkloadGroup, then -- and the command: weft workload run GROUP -- COMMAND [ARG...]")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			call.Group = args[0]
			return a.runWorkload(cmd.Context(), call, args[1:])
		},
	}
	c.Flags().StringVarP(&call.Namespace, "namespace", "n", "default", "`NAMESPACE` of the WorkloadGroup")
	c.Flags().StringVar(&call.Entry, "entry", "", "`NAME` of the WorkloadEntry; default: GROUP-ADDRESS")
	return c
}

func (a *app) runWorkload(ctx context.Context, call controller.MachineCall, argv []string) error {
	mesh, err := a.connect()
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	m, leave, err := joinMesh(ctx, mesh, call)
	if err != nil {
		return err
	}
	defer leave()
	fmt.Fprintf(a.err, "WorkloadEntry %s/%s of group %s is in the mesh, at %s\n", m.Namespace, m.Name, call.Group, m.IP)
	return a.execIn(ctx, mesh, m.Namespace+"/"+m.Name, pod.ExecRequest{Argv: argv, Dir: dir, Env: os.Environ()})
}

// joinMesh makes a machine, which is there until leave is called or this process
// ends.
func joinMesh(ctx context.Context, mesh *local.Client, call controller.MachineCall) (m controller.Machine, leave func(), err error) {
	body, err := json.Marshal(call)
	if err != nil {
		return m, nil, err
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives Ctrl-C, which is the command's
	defer context.AfterFunc(ctx, cancel)()
	req, err := http.NewRequestWithContext(own, http.MethodPost, "http://mesh/v1/machines", bytes.NewReader(body))
	if err != nil {
		cancel()
		return m, nil, err
	}
	resp, err := mesh.HTTP().Do(req) //nolint:bodyclose // leave closes it
	if err != nil {
		cancel()
		return m, nil, err
	}
	leave = func() {
		cancel()
		_ = resp.Body.Close()
	}
	if resp.StatusCode != http.StatusOK {
		defer leave()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return m, nil, errors.Join(errors.New(strings.TrimSpace(string(text))), err)
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		leave()
		return m, nil, fmt.Errorf("the mesh's answer: %w", err)
	}
	return m, leave, nil
}
