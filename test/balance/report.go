package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// quantile of the requests of a turn that succeeded, in milliseconds.
func (t turn) quantile(q float64) float64 {
	if len(t.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t.took))
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / float64(time.Millisecond)
}

func (t turn) all() int { return len(t.took) + t.failed }

// failures is the percent of requests that failed or took longer than limit.
func (t turn) failures() float64 { return 100 * float64(t.failed) / float64(max(1, t.all())) }

// share is the percent of requests that a host has answered.
func (t turn) share(host int) float64 { return 100 * float64(t.hosts[host]) / float64(max(1, t.all())) }

// middle is the median over turns, and the least and the most.
func middle(turns []turn, of func(turn) float64) (median, least, most float64) {
	var values []float64
	for _, t := range turns {
		values = append(values, of(t))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]
}

// total is all turns as one.
func total(turns []turn) (sum turn) {
	sum.hosts = map[int]int{}
	for _, t := range turns {
		sum.failed += t.failed
		sum.took = append(sum.took, t.took...)
		for h, n := range t.hosts {
			sum.hosts[h] += n
		}
	}
	return sum
}

// table writes results as Markdown: medians of the turns with their ranges.
func table(last int, results []result) string {
	var out strings.Builder
	fmt.Fprintf(&out, "| policy | last host's share | p50 ms | p90 ms | p99 ms (range of the turns) | failed or over 1 s |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		p50, _, _ := middle(r.turns, func(t turn) float64 { return t.quantile(0.5) })
		p90, _, _ := middle(r.turns, func(t turn) float64 { return t.quantile(0.9) })
		p99, least, most := middle(r.turns, func(t turn) float64 { return t.quantile(0.99) })
		sum := total(r.turns)
		fmt.Fprintf(&out, "| %s | %.1f%% | %.1f | %.1f | %.1f (%.1f to %.1f) | %d of %d (%.2f%%) |\n",
			r.policy, sum.share(last), p50, p90, p99, least, most, sum.failed, sum.all(), sum.failures())
	}
	return out.String()
}
