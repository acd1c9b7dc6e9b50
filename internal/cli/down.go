package cli

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/local"
)

func (a *app) down() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "down [DIR]", ValidArgsFunction: folders, GroupID: "local", Short: "Stop a mesh on this machine, and leave nothing behind",
		Long: "Stop the mesh of DIR, or that of --name, or the only one that runs: apps first, each\n" +
			"within its termination grace period.",
		Args: exactly(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			mesh, err := a.meshOf(cmd.Context(), args)
			if err != nil {
				return err
			}
			return a.runDown(cmd.Context(), mesh, timeout)
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 70*time.Second, "how long stopping may take")
	return c
}

// meshOf finds the mesh of a folder, else as connect does.
func (a *app) meshOf(ctx context.Context, args []string) (*local.Client, error) {
	if len(args) == 0 {
		return a.connect()
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return nil, err
	}
	names, err := local.List()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		c, err := local.Connect(n)
		if err != nil || a.name != "" && a.name != n {
			continue
		}
		if is, err := isOf(ctx, c, dir); err != nil {
			fmt.Fprintf(a.err, "mesh %q does not answer: %v\n", n, err)
		} else if is {
			return c, nil
		}
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("no mesh of %s is running; running are %s (--name)", dir, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("no mesh of %s is running", dir)
}

// answerTime is how long a mesh that is asked for its folder may take.
const answerTime = 5 * time.Second

// isOf says whether a mesh is of a folder. One that hangs keeps nobody from another.
func isOf(ctx context.Context, c *local.Client, dir string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	st, err := status(ctx, c)
	return err == nil && st.Dir == dir, err
}

func (a *app) runDown(whole context.Context, c *local.Client, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(whole, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://mesh/v1/stop", nil)
	if err != nil {
		return err
	}
	resp, err := c.HTTP().Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := local.Connect(c.Name()); err != nil {
			fmt.Fprintf(a.err, "mesh %q is stopped\n", c.Name())
			return nil
		}
		select {
		case <-ctx.Done():
			if whole.Err() != nil {
				fmt.Fprintf(a.err, "not waited for: mesh %q goes on stopping\n", c.Name())
				return interrupted
			}
			return fmt.Errorf("mesh %q has not stopped within %v; weft ps shows what still runs", c.Name(), timeout)
		case <-tick.C:
		}
	}
}
