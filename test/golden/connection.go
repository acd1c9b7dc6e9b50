package golden

import (
	"context"
	"fmt"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// connection looks at the connection to the endpoint that a call went over,
// once the call is over.
func (r *run) connection(w Want, o simulate.Outcome, found envoy.Observed) (problems []string) {
	if w.Keepalive != nil {
		problems = append(problems, r.keepalive(o, found.Seen[0])...)
	}
	if w.Hash != "" {
		if table, err := r.proxy.HashTable(r.ctx, o.Cluster); err != nil || table != w.Hash {
			problems = append(problems, fmt.Sprintf("Envoy: hash table is %q (%v), want %q", table, err, w.Hash))
		}
	}
	if w.Pings != "" {
		problems = append(problems, r.pings(o.Way.Pings, found.Seen[0])...)
	}
	if w.Closes != "" {
		problems = append(problems, r.closes(o.Way.Closes, found)...)
	}
	return problems
}

// labels looks at the count that the one request was added to.
func (r *run) labels(w Want, before envoy.Requests) []string {
	if len(w.Labels) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	got, err := r.proxy.AwaitRequest(ctx, before)
	if err != nil {
		return []string{"Envoy: the request is not counted: " + err.Error()}
	}
	f := &findings{by: "Envoy"}
	for _, name := range sortedKeys(w.Labels) {
		f.differ("label "+name, w.Labels[name], got[name])
	}
	return f.all
}

// counted is how many requests are counted under a route's prefix, or for the
// cluster, by now.
func (r *run) counted(w Want) (uint64, error) {
	if w.ClusterStat != "" {
		return r.proxy.ClusterRequests(r.ctx, w.ClusterStat)
	}
	if w.StatPrefix == nil || *w.StatPrefix == "" {
		return 0, nil
	}
	return r.proxy.RouteRequests(r.ctx, *w.StatPrefix)
}

// counts waits until one more request is counted there.
func (r *run) counts(w Want, before uint64) []string {
	where := "cluster." + w.ClusterStat
	if w.ClusterStat == "" {
		if w.StatPrefix == nil || *w.StatPrefix == "" {
			return nil
		}
		where = "route." + *w.StatPrefix
	}
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if now, err := r.counted(w); err != nil || now > before {
			return problem(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return []string{"Envoy: no request is counted under " + where}
		}
	}
}

func problem(err error) []string {
	if err == nil {
		return nil
	}
	return []string{"Envoy: " + err.Error()}
}

// keepalive compares the options of the proxy's socket.
func (r *run) keepalive(o simulate.Outcome, seen envoy.Seen) []string {
	got, err := r.proxy.Keepalive(seen)
	if err != nil {
		return []string{"Envoy: " + err.Error()}
	}
	want := o.Way.Keepalive
	if !want.On || want.Time == 0 { // the system's
		got.Time = want.Time
	}
	if !want.On || want.Interval == 0 {
		got.Interval = want.Interval
	}
	if !want.On || want.Probes == 0 {
		got.Probes = want.Probes
	}
	if got != want {
		return []string{fmt.Sprintf("simulator and Envoy disagree: keepalive is %+v in the simulator, %+v in Envoy", want, got)}
	}
	return nil
}

// pings waits for some, and looks at how far apart they are.
func (r *run) pings(every time.Duration, seen envoy.Seen) []string {
	const enough = 4
	ctx, cancel := context.WithTimeout(r.ctx, enough*every+5*time.Second)
	defer cancel()
	for {
		came, more := seen.Pings()
		if len(came) >= enough {
			if apart := came[enough-1].Sub(came[0]) / (enough - 1); apart < every*8/10 || apart > 3*every+time.Second {
				return []string{fmt.Sprintf("Envoy: pings come every %v, not %v", apart, every)}
			}
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return []string{fmt.Sprintf("Envoy: %d pings came, they should come every %v", len(came), every)}
		}
	}
}

// closes waits for the end of the connection.
func (r *run) closes(after time.Duration, found envoy.Observed) []string {
	ctx, cancel := context.WithTimeout(r.ctx, after+5*time.Second)
	defer cancel()
	start := time.Now()
	select {
	case <-found.Seen[0].Gone:
	case <-ctx.Done():
		return []string{fmt.Sprintf("Envoy: the connection to the endpoint stays, it should be closed after %v", after)}
	}
	if took := time.Since(start) + found.Took; took < after-after/10 {
		return []string{fmt.Sprintf("Envoy: the connection to the endpoint was closed after %v, not %v", took, after)}
	}
	return nil
}
