package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// quantiles of one turn, in milliseconds.
type quantiles struct{ p50, p90, p99 float64 }

func quantilesOf(micros []int64) quantiles {
	slices.Sort(micros)
	at := func(q float64) float64 {
		return float64(micros[min(len(micros)-1, int(q*float64(len(micros))))]) / 1000
	}
	return quantiles{at(0.5), at(0.9), at(0.99)}
}

// median of the turns, each quantile for itself.
func median(turns []turn, of func(turn) quantiles) quantiles {
	return quantiles{
		middle(turns, func(t turn) float64 { return of(t).p50 }),
		middle(turns, func(t turn) float64 { return of(t).p90 }),
		middle(turns, func(t turn) float64 { return of(t).p99 }),
	}
}

func middle[T any](all []T, of func(T) float64) float64 {
	if len(all) == 0 {
		return 0
	}
	values := make([]float64, len(all))
	for i, v := range all {
		values[i] = of(v)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func by(w way) func(turn) quantiles { return func(t turn) quantiles { return t.by[w] } }

// added is the difference within a turn.
func added(t turn) quantiles {
	meshed, direct := t.by[full], t.by[plain]
	return quantiles{meshed.p50 - direct.p50, meshed.p90 - direct.p90, meshed.p99 - direct.p99}
}

// quietest is the third of the turns in which the machine had least to do: a
// choice that looks at no latency.
func quietest(turns []turn) []turn {
	turns = slices.Clone(turns)
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Compare(a.busy, b.busy) })
	return turns[:(len(turns)+2)/3]
}

func (p pair) table() string {
	var out strings.Builder
	if len(p.turns) > 0 {
		fmt.Fprintf(&out, "| %g requests/s, %d of each kind, medians of %d turns | p50 | p90 | p99 |\n|---|---|---|---|\n", p.rate, p.requests, len(p.turns))
		p.latency(&out, "", p.turns)
		quiet := quietest(p.turns)
		p.latency(&out, fmt.Sprintf(", %d quietest turns", len(quiet)), quiet)
	}
	fmt.Fprintf(&out, "\n| | CPU a request | ready after | Envoy RSS (anonymous, proportional) | agent RSS (anonymous) |\n|---|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		cost
	}{
		{"client's sidecar", p.clients[full]}, {"server's sidecar", p.servers[full]},
		{"client's, no metrics", p.clients[uncounted]}, {"server's, no metrics", p.servers[uncounted]},
	} {
		fmt.Fprintf(&out, "| %s | %.0f us | %.2f s | %.0f MB (%.0f, %.0f) | %.1f MB (%.1f) |\n", row.name, row.perRequest, row.ready,
			row.envoy.RSS, row.envoy.Anonymous, row.envoy.Proportional, row.agent.RSS, row.agent.Anonymous)
	}
	if off := p.clients[uncounted].perRequest + p.servers[uncounted].perRequest; off > 0 {
		fmt.Fprintf(&out, "\nmetrics are %.0f%% more CPU a request\n", ((p.clients[full].perRequest+p.servers[full].perRequest)/off-1)*100)
	}
	return out.String()
}

// latency writes the rows of some turns.
func (p pair) latency(out *strings.Builder, which string, turns []turn) {
	busy := middle(turns, func(t turn) float64 { return t.busy })
	for _, row := range []struct {
		name string
		of   func(turn) quantiles
	}{{"direct", by(plain)}, {"two sidecars, mTLS, metrics", by(full)}, {"two sidecars, mTLS", by(uncounted)}, {"added by the first two", added}} {
		q := median(turns, row.of)
		fmt.Fprintf(out, "| %s%s (CPUs %.0f%% busy) | %.2f ms | %.2f ms | %.2f ms |\n", row.name, which, busy*100, q.p50, q.p90, q.p99)
	}
}

func (s startUp) table() string {
	fmtRange := func(of func(sidecar) float64) string {
		most := slices.MaxFunc(s.sidecars, func(a, b sidecar) int { return cmp.Compare(of(a), of(b)) })
		return fmt.Sprintf("%.2f | %.2f |", middle(s.sidecars, of), of(most))
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n| bookshop, %d pods, %d with a proxy | median | most |\n|---|---|---|\n", s.pods, len(s.sidecars))
	fmt.Fprintf(&out, "| weft up until all are ready and in sync | %.2f s | |\n", s.up.Seconds())
	fmt.Fprintf(&out, "| a proxy's start until it is ready, all at once, s | %s\n", fmtRange(func(x sidecar) float64 { return x.ready }))
	fmt.Fprintf(&out, "| agent RSS, MB | %s\n", fmtRange(func(x sidecar) float64 { return x.agent.RSS }))
	fmt.Fprintf(&out, "| agent anonymous, MB | %s\n", fmtRange(func(x sidecar) float64 { return x.agent.Anonymous }))
	fmt.Fprintf(&out, "| Envoy RSS, MB | %s\n", fmtRange(func(x sidecar) float64 { return x.envoy.RSS }))
	fmt.Fprintf(&out, "| Envoy anonymous, MB | %s\n", fmtRange(func(x sidecar) float64 { return x.envoy.Anonymous }))
	fmt.Fprintf(&out, "| Envoy proportional, MB | %s\n", fmtRange(func(x sidecar) float64 { return x.envoy.Proportional }))
	return out.String()
}
