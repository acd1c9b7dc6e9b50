package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/samples/bookshop/load"
)

// clientFlags are the flags of the clients of HTTP services.
type clientFlags struct {
	dial   load.Dial
	header map[string]string
}

func (f *clientFlags) add(flags *pflag.FlagSet) {
	flags.StringToStringVar(&f.header, "header", nil, "NAME=VALUE to send; Host=NAME sets the host")
	flags.StringVar(&f.dial.Address, "connect", "", "HOST:PORT to connect to instead of the URL's")
	flags.StringVar(&f.dial.CA, "ca", "", "PEM file of the roots to trust")
	flags.StringVar(&f.dial.Cert, "cert", "", "PEM file of the client's certificate")
	flags.StringVar(&f.dial.Key, "key", "", "PEM file of the client's key")
	flags.DurationVar(&f.dial.Timeout, "timeout", 10*time.Second, "bound of one request")
}

func newLoad() *cobra.Command {
	var flags clientFlags
	var plan load.Plan
	var following bool
	cmd := &cobra.Command{
		Use: "load", Short: "Send requests and print who answered, as JSON", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := load.NewClient(flags.dial)
			if err != nil {
				return err
			}
			plan.Client, plan.Header = client, flags.header
			if following {
				ctx, observe := follow(cmd.Context())
				return load.Run(ctx, plan, func(o load.Outcome) { observe(o.Line()) })
			}
			report := &load.Report{}
			if err := load.Run(cmd.Context(), plan, report.Add); err != nil {
				return err
			}
			return printJSON(os.Stdout, report.Finish())
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&plan.URL, "url", "http://127.0.0.1:8080/", "what to ask for")
	cmd.Flags().IntVar(&plan.Requests, "requests", 100, "how many; 0 sends until stopped")
	cmd.Flags().Float64Var(&plan.RPS, "rps", 0, "requests a second; 0 is as fast as the workers can")
	cmd.Flags().IntVar(&plan.Workers, "workers", 4, "requests at once")
	cmd.Flags().BoolVar(&following, "follow", false, followUsage)
	return cmd
}

const followUsage = "print each outcome as a JSON line as it ends, and stop when the standard input ends"

// follow prints lines until the standard input ends or nobody reads them; then
// the context ends. (The end of a client of `kubectl exec -i` is seen so.)
func follow(ctx context.Context) (context.Context, func(load.Line)) {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts, however it comes
	}()
	return ctx, load.Lines(os.Stdout, stop)
}

func newGRPCLoad() *cobra.Command {
	var plan load.GRPCPlan
	var following bool
	cmd := &cobra.Command{
		Use: "grpc-load", Short: "Call ratings on one connection and print who answered, as JSON", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if following {
				ctx, plan.Observe = follow(ctx)
			}
			report, err := load.RunGRPC(ctx, plan)
			if err != nil || following {
				return err
			}
			return printJSON(os.Stdout, report)
		},
	}
	cmd.Flags().StringVar(&plan.Target, "target", "ratings:9000", "HOST:PORT of ratings")
	cmd.Flags().IntVar(&plan.Calls, "calls", 1000, "how many; 0 sends until stopped")
	cmd.Flags().Float64Var(&plan.RPS, "rps", 0, "calls a second; 0 is as fast as the workers can")
	cmd.Flags().BoolVar(&following, "follow", false, followUsage)
	cmd.Flags().IntVar(&plan.Workers, "workers", 1, "calls at once, on the one connection")
	return cmd
}

func newGet() *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use: "get URL", Short: "Send one request and print its answer", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := load.NewClient(flags.dial)
			if err != nil {
				return err
			}
			plan := load.Plan{URL: args[0], Requests: 1, Client: client, Header: flags.header}
			var out load.Outcome
			if err := load.Run(cmd.Context(), plan, func(o load.Outcome) { out = o }); err != nil {
				return err
			}
			return printOutcome(out)
		},
	}
	flags.add(cmd.Flags())
	return cmd
}

// printOutcome prints an answer; the error is for one that failed.
func printOutcome(out load.Outcome) error {
	if out.Err != nil {
		return out.Err
	}
	if err := printJSON(os.Stdout, out.Answer); err != nil {
		return err
	}
	if out.Failed() {
		return fmt.Errorf("answered %d %s", out.Status, http.StatusText(out.Status))
	}
	return nil
}

func newControl() *cobra.Command {
	port := controlPort
	cmd := &cobra.Command{Use: "ctl", Short: "Make the instance of this pod fail or be slow"}
	cmd.PersistentFlags().IntVar(&port, "control-port", controlPort, "port of the switch, on loopback")
	send := func(cmd *cobra.Command, method, path string, values url.Values) error {
		at := url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port), Path: path, RawQuery: values.Encode()}
		return control(cmd, method, at.String())
	}
	cmd.AddCommand(&cobra.Command{
		Use: "status", Short: "Print the switch and its counts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return send(cmd, http.MethodGet, "/status", nil) },
	}, &cobra.Command{
		Use: "fail on|off", Short: "Answer 503, or well again", Args: cobra.ExactArgs(1), ValidArgs: []string{"on", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "on" && args[0] != "off" {
				return fmt.Errorf("fail takes on or off, got %q", args[0])
			}
			on := fmt.Sprint(args[0] == "on")
			return send(cmd, http.MethodPut, "/fail", url.Values{"on": {on}})
		},
	}, &cobra.Command{
		Use: "delay DURATION", Short: "Answer after DURATION, such as 200ms; 0 is at once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return send(cmd, http.MethodPut, "/delay", url.Values{"for": {args[0]}})
		},
	})
	return cmd
}

// control sends one request to the switch and prints its answer.
func control(cmd *cobra.Command, method, at string) error {
	req, err := http.NewRequestWithContext(cmd.Context(), method, at, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 5 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("reach the switch: %w; run this in the pod of the instance (weft exec POD -- ...)", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err != nil {
		return fmt.Errorf("read the switch's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the switch refused: %s", body)
	}
	_, err = os.Stdout.Write(body)
	return err
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
