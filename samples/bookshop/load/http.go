package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/shop"
)

// Plan says what load to send. URL must be set.
type Plan struct {
	URL string
	// Header is added to each request; the key Host sets the host name.
	Header map[string]string
	// Requests is how many to send; 0 sends until the context ends.
	Requests int
	// RPS is requests a second, evenly spaced; 0 sends as fast as Workers can.
	RPS float64
	// Workers is how many requests may run at once; 0 is 1.
	Workers int
	// Client sends the requests; nil is the client of NewClient's zero Dial.
	Client *http.Client
}

// Outcome is what came of one request.
type Outcome struct {
	// Start is when the request was sent, Took how long until its answer was read.
	Start time.Time
	Took  time.Duration
	// Status is the HTTP status; 0 where there was none, and Err says why.
	Status int
	Err    error
	// Answer is the body; only Error is set where a proxy answered.
	Answer shop.Answer
}

// Failed tells whether the request was not answered with a status under 400.
func (o Outcome) Failed() bool { return o.Err != nil || o.Status >= http.StatusBadRequest }

// Run carries out the plan and calls observe for each outcome, one at a time,
// in the order in which they end. It returns early, with no error, when ctx
// ends; requests that run then are not reported, for it was us who ended them.
func Run(ctx context.Context, plan Plan, observe func(Outcome)) error {
	if plan.Client == nil {
		client, err := NewClient(Dial{})
		if err != nil {
			return err
		}
		plan.Client = client
	}
	if _, err := plan.request(ctx); err != nil {
		return err
	}
	var lock sync.Mutex
	pace := &pace{start: time.Now(), limit: int64(plan.Requests), rps: plan.RPS}
	var wg sync.WaitGroup
	for range max(plan.Workers, 1) {
		wg.Go(func() {
			for pace.next(ctx) {
				out := plan.send(ctx)
				if ctx.Err() != nil {
					return
				}
				lock.Lock()
				observe(out)
				lock.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

// request builds one request of the plan.
func (p Plan) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("url %q: %w", p.URL, err)
	}
	for name, value := range p.Header {
		req.Header.Set(name, value)
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
		}
	}
	return req, nil
}

// send sends one request and reads its answer.
func (p Plan) send(ctx context.Context) (out Outcome) {
	out.Start = time.Now()
	defer func() { out.Took = time.Since(out.Start) }()
	req, err := p.request(ctx)
	if err != nil {
		out.Err = err
		return out
	}
	res, err := p.Client.Do(req)
	if err != nil {
		out.Err = err
		return out
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		out.Err = fmt.Errorf("read the answer: %w", err)
		return out
	}
	out.Status = res.StatusCode
	if json.Unmarshal(body, &out.Answer) != nil {
		out.Answer.Error = fmt.Sprintf("%s: %.200s", res.Status, body)
	}
	return out
}

// pace hands out the turns of a plan to its workers.
type pace struct {
	start time.Time
	limit int64 // 0 is none
	rps   float64
	turn  atomic.Int64
}

// next waits for the next turn; false means that there is none.
func (p *pace) next(ctx context.Context) bool {
	turn := p.turn.Add(1) - 1
	if p.limit > 0 && turn >= p.limit || ctx.Err() != nil {
		return false
	}
	if p.rps <= 0 {
		return true
	}
	due := p.start.Add(time.Duration(float64(turn) / p.rps * float64(time.Second)))
	wait := time.NewTimer(time.Until(due))
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}
