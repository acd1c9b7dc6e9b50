package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Control is the switch of one instance: it can be made to fail or to be slow
// while it runs. The zero value answers at once and well. Probes do not see it,
// because an instance that looks healthy and fails is what outlier detection
// is for.
type Control struct {
	fail     atomic.Bool
	delay    atomic.Int64 // nanoseconds
	answered atomic.Int64
	failed   atomic.Int64
}

// Status is the state of a Control, as JSON.
type Status struct {
	Fail bool `json:"fail"`
	// Delay is in the form of time.Duration, such as 200ms.
	Delay string `json:"delay"`
	// Answered counts calls that were answered well since the start, Failed those
	// that the switch made fail.
	Answered int64 `json:"answered"`
	Failed   int64 `json:"failed"`
}

// Status returns the state now.
func (c *Control) Status() Status {
	return Status{
		Fail:     c.fail.Load(),
		Delay:    time.Duration(c.delay.Load()).String(),
		Answered: c.answered.Load(),
		Failed:   c.failed.Load(),
	}
}

// admit waits for the delay that is set and tells whether the call may be
// answered well. A caller that goes away while it waits counts as neither.
func (c *Control) admit(ctx context.Context) bool {
	if d := time.Duration(c.delay.Load()); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return false
		}
	}
	if c.fail.Load() {
		c.failed.Add(1)
		return false
	}
	c.answered.Add(1)
	return true
}

// guard wraps an HTTP service: while the switch is on it answers 503.
func (c *Control) guard(id Identity, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.admit(r.Context()) {
			next.ServeHTTP(w, r)
			return
		}
		out := id.answer(r.Header)
		out.Error = "told to fail (bookshop ctl fail on)"
		out.write(w, http.StatusServiceUnavailable)
	})
}

// guardCall wraps a gRPC service: while the switch is on it answers
// UNAVAILABLE, which Envoy counts like a 503. Health checks pass.
func (c *Control) guardCall(
	ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler,
) (any, error) {
	if info.FullMethod == healthCheckMethod || c.admit(ctx) {
		return next(ctx, in)
	}
	return nil, status.Error(codes.Unavailable, "told to fail (bookshop ctl fail on)")
}

// Handler serves the switch: GET /status, PUT /fail?on=BOOL, PUT
// /delay?for=DURATION. Each answers with the Status. It asks for no password,
// so it may be served on loopback only.
func (c *Control) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { c.report(w, nil) })
	mux.HandleFunc("PUT /fail", func(w http.ResponseWriter, r *http.Request) {
		on, err := strconv.ParseBool(r.FormValue("on"))
		if err == nil {
			c.fail.Store(on)
		}
		c.report(w, err)
	})
	mux.HandleFunc("PUT /delay", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("for"))
		if err == nil && d < 0 {
			err = fmt.Errorf("a delay must not be negative, got %v", d)
		}
		if err == nil {
			c.delay.Store(int64(d))
		}
		c.report(w, err)
	})
	return mux
}

func (c *Control) report(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c.Status())
}
