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
func median(turns []quantiles) quantiles {
	return quantiles{
		middle(turns, func(q quantiles) float64 { return q.p50 }),
		middle(turns, func(q quantiles) float64 { return q.p90 }),
		middle(turns, func(q quantiles) float64 { return q.p99 }),
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

// added is the median of what each turn added to its neighbour.
func (p pair) added() quantiles {
	differences := make([]quantiles, len(p.meshed))
	for i, m := range p.meshed {
		d := p.direct[i]
		differences[i] = quantiles{m.p50 - d.p50, m.p90 - d.p90, m.p99 - d.p99}
	}
	return median(differences)
}

func (p pair) table() string {
	var out strings.Builder
	if len(p.meshed) > 0 {
		direct, meshed, added := median(p.direct), median(p.meshed), p.added()
		fmt.Fprintf(&out, "| %g requests/s, %d of each kind, median of %d turns | p50 | p90 | p99 |\n|---|---|---|---|\n", p.rate, p.requests, len(p.meshed))
		for _, row := range []struct {
			name string
			quantiles
		}{{"direct", direct}, {"two sidecars, mTLS, metrics", meshed}, {"added", added}} {
			fmt.Fprintf(&out, "| %s | %.2f ms | %.2f ms | %.2f ms |\n", row.name, row.p50, row.p90, row.p99)
		}
	}
	fmt.Fprintf(&out, "\n| | CPU a request | Envoy RSS (anonymous, proportional) | agent RSS (anonymous) |\n|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		cost
	}{{"client's sidecar", p.client}, {"server's sidecar", p.server}} {
		fmt.Fprintf(&out, "| %s | %.0f us | %.0f MB (%.0f, %.0f) | %.1f MB (%.1f) |\n", row.name, row.perRequest,
			row.envoy.RSS, row.envoy.Anonymous, row.envoy.Proportional, row.agent.RSS, row.agent.Anonymous)
	}
	return out.String()
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
