// Package health tells the pilot whether the process beside this agent is well,
// where no kubelet asks it: on a machine outside of the cluster.
//
// Inputs: the probe of the machine's WorkloadGroup, and a connection to the pilot.
// Output: Istio's HealthInformation, on a delta ADS stream of its own: at once, at
// each change, and again on each new stream. Of the agent it may import appprobe.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/weftmesh/weft/internal/agent/appprobe"
)

// TypeURL is that of a request that says how the process is: well, unless it has
// an error. Source: Istio's health.HealthInformation.
const TypeURL = "type.googleapis.com/istio.v1.HealthInformation"

// Probe is a WorkloadGroup's; zero numbers mean Kubernetes' defaults.
// Source: istio.io/api networking/v1alpha3, message ReadinessProbe.
type Probe struct {
	appprobe.Probe
	Exec *struct {
		Command []string `json:"command"` // run by the agent's user; well if it ends with 0
	} `json:"exec,omitempty"`
	InitialDelaySeconds int `json:"initialDelaySeconds,omitempty"`
	PeriodSeconds       int `json:"periodSeconds,omitempty"`    // 0: 10
	SuccessThreshold    int `json:"successThreshold,omitempty"` // 0: 1
	FailureThreshold    int `json:"failureThreshold,omitempty"` // 0: 3
}

// Parse reads a probe's JSON; nil with "": there is none.
func Parse(text string) (*Probe, error) {
	if text == "" {
		return nil, nil
	}
	p := &Probe{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	switch {
	case p.Exec != nil && (len(p.Exec.Command) == 0 || p.HTTPGet != nil || p.TCPSocket != nil || p.GRPC != nil):
		return nil, errors.New("probe: want one of httpGet, tcpSocket, grpc, and exec with a command")
	case p.Exec == nil && p.Check() != nil:
		return nil, fmt.Errorf("probe: %w", p.Check())
	case p.InitialDelaySeconds < 0 || p.PeriodSeconds < 0 || p.SuccessThreshold < 0 || p.FailureThreshold < 0:
		return nil, errors.New("probe: a number is negative")
	}
	return p, nil
}

// Reporter asks the process, and says it to the pilot.
type Reporter struct {
	Probe   Probe
	Ask     func(context.Context, appprobe.Probe) error // makes a probe that is not exec
	Leaving <-chan struct{}                             // from its end on nobody shall come
	Node    *corev3.Node
	Conn    grpc.ClientConnInterface // to the pilot; its calls wait for it
	Log     *slog.Logger
}

// verdict is what is to be said; nil: well.
type verdict struct{ err error }

// Run asks and tells until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	news := make(chan verdict, 1)
	go r.watch(ctx, news)
	last := verdict{errors.New("not asked yet")}
	for ctx.Err() == nil {
		err := r.stream(ctx, &last, news)
		r.Log.Debug("health stream ended", "reason", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second/2 + rand.N(time.Second/2)):
		}
	}
	return ctx.Err()
}

// stream says last, and what follows, until the stream ends.
func (r *Reporter) stream(ctx context.Context, last *verdict, news <-chan verdict) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.Conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := stream.Recv() // there are no answers
		ended <- err
	}()
	for {
		if err := stream.Send(r.request(*last)); err != nil {
			return err
		}
		select {
		case *last = <-news:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *Reporter) request(v verdict) *discoveryv3.DeltaDiscoveryRequest {
	out := &discoveryv3.DeltaDiscoveryRequest{Node: r.Node, TypeUrl: TypeURL}
	if v.err != nil {
		out.ErrorDetail = &status.Status{Code: int32(codes.Unavailable), Message: v.err.Error()}
	}
	return out
}

// watch repeats the probe and gives what differs.
func (r *Reporter) watch(ctx context.Context, news chan verdict) {
	tell := func(v verdict) {
		r.Log.Info("the process's health", "well", v.err == nil, "reason", v.err)
		select {
		case <-news: // nobody heard it yet
		default:
		}
		news <- v
	}
	period := time.Duration(orElse(r.Probe.PeriodSeconds, 10)) * time.Second
	timer := time.NewTimer(time.Duration(r.Probe.InitialDelaySeconds) * time.Second)
	defer timer.Stop()
	well, good, bad, reason := false, 0, 0, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.Leaving:
			tell(verdict{errors.New("the machine leaves the mesh")})
			return
		case <-timer.C:
		}
		err := r.ask(ctx)
		if err == nil {
			good, bad, reason = good+1, 0, ""
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case err == nil && !well && good >= orElse(r.Probe.SuccessThreshold, 1):
			well = true
			tell(verdict{})
		case err != nil && well && bad >= orElse(r.Probe.FailureThreshold, 3), err != nil && !well && reason == "":
			well, reason = false, err.Error()
			tell(verdict{err})
		}
		timer.Reset(period)
	}
}

func (r *Reporter) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(orElse(r.Probe.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	if r.Probe.Exec == nil {
		return r.Ask(ctx, r.Probe.Probe)
	}
	argv := r.Probe.Exec.Command
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return nil
}

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
