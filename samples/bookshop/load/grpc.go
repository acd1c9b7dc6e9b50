package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// GRPCPlan says what calls of the ratings service to send. Target must be set.
type GRPCPlan struct {
	// Target is HOST:PORT, called in plaintext: the mesh encrypts.
	Target string
	// Calls is how many to send; 0 sends until the context ends.
	Calls int
	// RPS is calls a second, evenly spaced; 0 sends as fast as Workers can.
	RPS float64
	// Workers is how many calls may run at once, on the one connection; 0 is 1.
	Workers int
	// Observe gets each call as it ends, one at a time; nil is nobody.
	Observe func(Line)
}

// GRPCReport counts the outcomes of gRPC calls.
type GRPCReport struct {
	Total  int            `json:"total"`
	Failed int            `json:"failed"`
	ByCode map[string]int `json:"byCode"`
	// ByPod counts the calls that were answered well.
	ByPod map[string]int `json:"byPod"`
	// Connections is how many connections the client opened. A client without a
	// mesh would send all calls of one connection to one pod.
	Connections int64 `json:"connections"`
	// P50 and P99 are milliseconds until the reply.
	P50 float64 `json:"p50ms"`
	P99 float64 `json:"p99ms"`
	// Errors are the first few different errors.
	Errors []string `json:"errors,omitempty"`

	took []time.Duration
}

// RunGRPC carries out the plan. A call that fails is counted, not returned; the
// error is for a plan that cannot be carried out. Calls that run when ctx ends
// are not counted, for it was us who ended them.
func RunGRPC(ctx context.Context, plan GRPCPlan) (*GRPCReport, error) {
	connections := &connectionCounter{}
	conn, err := grpc.NewClient(plan.Target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(connections))
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", plan.Target, err)
	}
	defer func() { _ = conn.Close() }()
	client := ratingspb.NewRatingsClient(conn)
	report := &GRPCReport{ByCode: map[string]int{}, ByPod: map[string]int{}}
	var lock sync.Mutex
	pace := &pace{start: time.Now(), limit: int64(plan.Calls), rps: plan.RPS}
	var wg sync.WaitGroup
	for range max(plan.Workers, 1) {
		wg.Go(func() {
			for pace.next(ctx) {
				start := time.Now()
				reply, err := callRatings(ctx, client)
				if ctx.Err() != nil {
					return
				}
				lock.Lock()
				report.add(reply, err, time.Since(start))
				if plan.Observe != nil {
					plan.Observe(callLine(start, reply, err))
				}
				lock.Unlock()
			}
		})
	}
	wg.Wait()
	report.Connections = connections.opened.Load()
	report.P50, report.P99 = percentiles(report.took)
	return report, nil
}

// callRatings sends one call, bounded to 10 s.
func callRatings(ctx context.Context, client ratingspb.RatingsClient) (*ratingspb.GetReply, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return client.Get(ctx, &ratingspb.GetRequest{}, grpc.WaitForReady(true))
}

func (r *GRPCReport) add(reply *ratingspb.GetReply, err error, took time.Duration) {
	r.Total++
	r.took = append(r.took, took)
	r.ByCode[status.Code(err).String()]++
	if err != nil {
		r.Failed++
		r.Errors = quoteText(r.Errors, err.Error())
		return
	}
	r.ByPod[reply.GetPod()]++
}

// connectionCounter counts a client's connections.
type connectionCounter struct{ opened atomic.Int64 }

// TagRPC implements stats.Handler and adds nothing.
func (*connectionCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return ctx
}

// HandleRPC implements stats.Handler and ignores calls.
func (*connectionCounter) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn implements stats.Handler and adds nothing.
func (*connectionCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}

// HandleConn implements stats.Handler: it counts connections that begin.
func (c *connectionCounter) HandleConn(_ context.Context, event stats.ConnStats) {
	if _, ok := event.(*stats.ConnBegin); ok {
		c.opened.Add(1)
	}
}
