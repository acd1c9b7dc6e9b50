package command

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// hookPoll is how often a hook looks whether what it waits for is so.
const hookPoll = 100 * time.Millisecond

// drainCommand is the proxy container's preStop hook: an image without a shell
// has nothing else to ask the agent with.
func drainCommand() *cobra.Command {
	var port uint16
	var app bool
	var proxyUID uint32
	cmd := &cobra.Command{
		Use: "drain", Short: "Tell this pod's agent to take no more traffic", Args: cobra.NoArgs,
		Long: `Tell the agent of this pod to take no more traffic from others: readiness fails
and clients are told to close, while what runs is served and the app's own calls
go out. With --wait-for-app it returns when no other program of the pod listens
any more: kubelets that end all containers at once then end the proxy last.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := post(cmd.Context(), port, "/drain"); err != nil || !app {
				return err
			}
			return until(cmd.Context(), func(context.Context) error { return appEnded(proxyUID) })
		},
	}
	cmd.Flags().Uint16Var(&port, "status-port", 15020, "the agent's port")
	cmd.Flags().BoolVar(&app, "wait-for-app", false, "return when the app listens no more")
	cmd.Flags().Uint32Var(&proxyUID, "proxy-uid", 1337, "user of the proxy, whose own ports do not count")
	return cmd
}

// waitCommand is the proxy container's postStart hook where it is an ordinary
// container: the kubelet starts the next one when it has returned.
func waitCommand() *cobra.Command {
	var port uint16
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "wait", Short: "Wait until this pod's proxy is ready", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			return until(ctx, func(ctx context.Context) error { return ask(ctx, http.MethodGet, port, "/healthz/ready") })
		},
	}
	cmd.Flags().Uint16Var(&port, "status-port", 15020, "the agent's port")
	cmd.Flags().DurationVar(&limit, "timeout", 2*time.Minute, "fail after it")
	return cmd
}

// until calls check until it gives no error; the last one is told at the end
// of ctx.
func until(ctx context.Context, check func(context.Context) error) error {
	tick := time.NewTicker(hookPoll)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func post(ctx context.Context, port uint16, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return ask(ctx, http.MethodPost, port, path)
}

// ask succeeds when the agent answers 200.
func ask(ctx context.Context, method string, port uint16, path string) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:"+strconv.Itoa(int(port))+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// appEnded gives an error while a program that is not the proxy listens on TCP
// in this network namespace, and so in this pod.
func appEnded(proxyUID uint32) error {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		if n := listeners(string(text), proxyUID); n > 0 {
			return fmt.Errorf("the app listens on %d sockets still", n)
		}
	}
	return nil
}

// listeners counts the listening sockets that are not proxyUID's.
// Source: proc(5), /proc/net/tcp: the fourth column is the state (0A is
// LISTEN), the eighth the user.
func listeners(table string, proxyUID uint32) (n int) {
	uid := strconv.FormatUint(uint64(proxyUID), 10)
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 7 && f[3] == "0A" && f[7] != uid {
			n++
		}
	}
	return n
}
