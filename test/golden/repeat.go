package golden

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// times makes a call again and again and looks at all of them together: how
// they spread over the endpoints and over connections.
func (r *run) times(c Call) (problems []string) {
	var seen []envoy.Seen
	var all []envoy.Observed
	keys := map[string]bool{}
	var last simulate.Outcome
	for n := range c.Times {
		call, err := c.resolve(r.resolver, n)
		if err != nil {
			return []string{err.Error()}
		}
		outcomes, err := r.config.Run(call)
		if err != nil || len(outcomes) != 1 {
			return []string{fmt.Sprintf("simulator: a call that is repeated must have one outcome, it has %d (%v)", len(outcomes), err)}
		}
		last = outcomes[0]
		keys[last.Way.Key] = true
		problems = append(problems, c.Want.simulated(outcomes)...)
		if r.proxy == nil {
			continue
		}
		found, err := r.proxy.Do(r.ctx, call)
		if err != nil {
			return append(problems, "Envoy: "+err.Error())
		}
		found.Flags = awaitFlags(r.ctx, c.Want, r.proxy, found)
		problems = append(problems, c.Want.compare(outcomes, []envoy.Observed{found})...)
		all = append(all, found)
		if primary, _ := split(last, found); len(primary) > 0 {
			seen = append(seen, primary[0])
		}
		if len(problems) > 3 {
			return problems
		}
	}
	problems = append(problems, c.Want.reuse(last, c.Times)...)
	if r.proxy == nil || len(seen) == 0 {
		return problems
	}
	if c.Want.Mirrored != nil {
		problems = append(problems, r.mirrored(last, all)...)
	}
	problems = append(problems, spread(last, len(keys), seen)...)
	return append(problems, c.Want.connections(seen)...)
}

// spread holds what the endpoints saw against what the simulator says.
func spread(o simulate.Outcome, keys int, seen []envoy.Seen) (problems []string) {
	counts := map[string]int{}
	for _, t := range o.Upstreams {
		counts[t.Address] = 0
	}
	for _, s := range seen {
		counts[s.Endpoint]++
	}
	used := slices.DeleteFunc(slices.Collect(maps.Values(counts)), func(n int) bool { return n == 0 })
	least, most, all := slices.Min(slices.Collect(maps.Values(counts))), slices.Max(used), float64(len(seen))
	ok := true
	switch o.Way.Spread {
	case simulate.SpreadOne:
		ok = len(used) == 1 || keys > 1 && least > 0
	case simulate.SpreadRotation:
		ok = most-least <= 1
	case simulate.SpreadChance:
		for _, t := range o.Upstreams {
			n, want, off := float64(counts[t.Address]), all*t.Share, 5*math.Sqrt(all*t.Share*(1-t.Share))+1
			ok = ok && math.Abs(n-want) <= off && (n > 0 || want < 5)
		}
	}
	if !ok {
		problems = append(problems, fmt.Sprintf("Envoy: %v is no spread by %s over %d keys", counts, o.Way.Spread, keys))
	}
	return problems
}

// reuse checks what the simulator says of connections and copies.
func (w Want) reuse(o simulate.Outcome, times int) (problems []string) {
	f := &findings{by: "simulator"}
	if w.Mirrored != nil {
		f.differ("mirrors", 1, len(o.Mirrors))
		for _, m := range o.Mirrors {
			f.differ("percent mirrored", *w.Mirrored, 100*m.Chance)
		}
	}
	if w.Connections == 0 {
		return f.all
	}
	foretold := 1
	if n := int(o.Way.Reuse); n > 0 {
		foretold = (times + n - 1) / n
	}
	f.differ("endpoints", 1, len(o.Upstreams))
	f.differ("connections", w.Connections, foretold)
	return f.all
}

func (w Want) connections(seen []envoy.Seen) []string {
	if w.Connections == 0 {
		return nil
	}
	ids := map[int64]bool{}
	for _, s := range seen {
		ids[s.Conn] = true
	}
	f := &findings{by: "Envoy"}
	f.differ("connections", w.Connections, len(ids))
	return f.all
}

// mirrored counts the copies of all calls, some of which may be on their way
// still.
func (r *run) mirrored(o simulate.Outcome, all []envoy.Observed) []string {
	n, p := float64(len(all)), o.Mirrors[0].Chance
	off := 5*math.Sqrt(n*p*(1-p)) + 1
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	for {
		more := r.proxy.Arrivals()
		copies := 0.0
		for _, found := range all {
			for _, s := range r.proxy.AwaitSeen(ctx, found, 0) {
				if s.Cluster == o.Mirrors[0].Cluster {
					copies++
				}
			}
		}
		switch {
		case copies > n*p+off:
			return []string{fmt.Sprintf("Envoy: %v of %v calls are copied, the simulator says %.1f%%", copies, n, 100*p)}
		case copies >= n*p-off:
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return []string{fmt.Sprintf("Envoy: %v of %v calls are copied, the simulator says %.1f%%", copies, n, 100*p)}
		}
	}
}

// eject makes a call again and again, until outlier detection has had its
// reasons. What has been put out by then is so for the calls that follow.
func (r *run) eject(c Call, call simulate.Call) (problems []string) {
	if c.Want.Returned {
		r.resolver.ejected, call.Ejected = nil, nil
		if r.out > soon {
			return []string{fmt.Sprintf("simulator: it is taken back after %v", r.out)}
		}
	}
	outcomes, err := r.config.Run(call)
	if err != nil {
		return []string{"simulator: " + err.Error()}
	}
	f, cluster := &findings{by: "simulator"}, outcomes[0].Cluster
	out := slices.Clone(call.Ejected[cluster])
	if c.Answer.Only != "" {
		e, err := r.config.Eject(call)
		if err != nil {
			return []string{"simulator: " + err.Error()}
		}
		if c.Want.Failures > 0 {
			f.differ("failures before it is ejected", c.Want.Failures, e.After)
		}
		if e.After > 0 {
			out = append(out, e.Endpoint)
			r.out = e.For
		}
	}
	want := slices.Sorted(slices.Values(*c.Want.Ejected))
	slices.Sort(out)
	f.differ("ejected", want, out)
	r.resolver.ejected = maps.Clone(r.resolver.ejected)
	if r.resolver.ejected == nil {
		r.resolver.ejected = map[string][]string{}
	}
	r.resolver.ejected[cluster] = out
	if r.proxy == nil || len(f.all) > 0 {
		return f.all
	}
	failures := 0
	for range max(c.Times, 1) {
		found, err := r.proxy.Do(r.ctx, call)
		if err != nil {
			return append(problems, "Envoy: "+err.Error())
		}
		reached := false
		for _, s := range found.Seen {
			if s.Endpoint == c.Answer.Only {
				failures++
				reached = failures == c.Want.Failures
			}
		}
		// Envoy ejects on another thread than the one that counts: the next call
		// is made once that is done.
		if reached && slices.Contains(want, c.Answer.Only) {
			problems = append(problems, r.awaitEjected(cluster, want)...)
		}
	}
	if c.Want.Failures > 0 && !c.Answer.Refuse && failures != c.Want.Failures {
		problems = append(problems, fmt.Sprintf("Envoy: %d failures reached %s, want %d", failures, c.Answer.Only, c.Want.Failures))
	}
	return append(problems, r.awaitEjected(cluster, want)...)
}

// soon is how long an ejection may be waited for, or its end.
const soon = 10 * time.Second

// awaitEjected waits until just the endpoints in want are ejected.
func (r *run) awaitEjected(cluster string, want []string) []string {
	ctx, cancel := context.WithTimeout(r.ctx, soon)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := r.proxy.Ejected(ctx, cluster)
		if err == nil && slices.Equal(out, want) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return []string{fmt.Sprintf("Envoy: ejected are %v, want %v (%v)", out, want, err)}
		}
	}
}
