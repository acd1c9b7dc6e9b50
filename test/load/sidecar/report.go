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

func direct(t turn) quantiles { return t.direct }
func meshed(t turn) quantiles { return t.meshed }

// added is the difference within a turn.
func added(t turn) quantiles {
	return quantiles{t.meshed.p50 - t.direct.p50, t.meshed.p90 - t.direct.p90, t.meshed.p99 - t.direct.p99}
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
	}{{"client's sidecar", p.client}, {"server's sidecar", p.server}} {
		fmt.Fprintf(&out, "| %s | %.0f us | %.2f s | %.0f MB (%.0f, %.0f) | %.1f MB (%.1f) |\n", row.name, row.perRequest, row.ready,
			row.envoy.RSS, row.envoy.Anonymous, row.envoy.Proportional, row.agent.RSS, row.agent.Anonymous)
	}
	return out.String()
}

// latency writes the rows of some turns.
func (p pair) latency(out *strings.Builder, which string, turns []turn) {
	busy := middle(turns, func(t turn) float64 { return t.busy })
	for _, row := range []struct {
		name string
		of   func(turn) quantiles
	}{{"direct", direct}, {"two sidecars, mTLS, metrics", meshed}, {"added", added}} {
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
