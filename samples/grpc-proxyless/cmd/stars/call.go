package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds" // makes xds:/// targets known

	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// report is what the calls came to.
type report struct {
	Calls     int            `json:"calls"`
	ByVersion map[string]int `json:"byVersion"`
	ByPod     map[string]int `json:"byPod"`
	// Callers are the identities, or the headers about them, that servers saw.
	Callers map[string]int `json:"callers"`
	// Errors are those of gRPC, by code, with the last message of each.
	Errors   map[string]int    `json:"errors,omitempty"`
	Messages map[string]string `json:"messages,omitempty"`
}

// plan is what to call, how often and with what.
type plan struct {
	target  string
	calls   int
	every   time.Duration
	timeout time.Duration
	headers []string // NAME=VALUE
}

func newCall() *cobra.Command {
	var p plan
	c := &cobra.Command{Use: "call", Short: "Call a server and count who answered", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		out, err := call(cmd.Context(), p)
		if err != nil {
			return err
		}
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	}}
	c.Flags().StringVar(&p.target, "target", "xds:///stars.default.svc.cluster.local:9000", "what to call: xds:///HOST:PORT, or HOST:PORT without xDS")
	c.Flags().IntVar(&p.calls, "calls", 100, "how often")
	c.Flags().DurationVar(&p.every, "every", 0, "from one call to the next; 0: at once")
	c.Flags().DurationVar(&p.timeout, "timeout", 10*time.Second, "of each call")
	c.Flags().StringSliceVar(&p.headers, "header", nil, "NAME=VALUE to send with each call")
	return c
}

func call(ctx context.Context, p plan) (*report, error) {
	// In clear text, unless the mesh says otherwise.
	creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(p.target, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", p.target, err)
	}
	defer conn.Close()
	client := ratingspb.NewRatingsClient(conn)
	for _, h := range p.headers {
		name, value, _ := strings.Cut(h, "=")
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	out := &report{ByVersion: map[string]int{}, ByPod: map[string]int{}, Callers: map[string]int{}, Errors: map[string]int{}, Messages: map[string]string{}}
	pace := time.NewTicker(max(p.every, time.Microsecond))
	defer pace.Stop()
	for range p.calls {
		out.one(ctx, client, p.timeout)
		select {
		case <-pace.C:
		case <-ctx.Done():
			return out, nil
		}
	}
	return out, nil
}

func (r *report) one(ctx context.Context, client ratingspb.RatingsClient, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r.Calls++
	reply, err := client.Get(ctx, &ratingspb.GetRequest{})
	if err != nil {
		code := status.Code(err).String()
		r.Errors[code]++
		r.Messages[code] = status.Convert(err).Message()
		return
	}
	r.ByVersion[reply.GetVersion()]++
	r.ByPod[reply.GetPod()]++
	r.Callers[reply.GetPeer()]++
}
