// Package stat holds the statistics that tests of random choices need: how far
// a count may be from its mean, and when a chance changed.
//
// Input: counts and chances. Output: bounds that follow from them alone; none
// is tuned. It imports the standard library alone.
package stat

import (
	"fmt"
	"math"
)

// Sigmas is how many standard deviations a count may be from its mean. A fair
// binomial count is further away about once in 16,000 times.
const Sigmas = 4

// Interval is the whole numbers from Low to High, both included.
type Interval struct{ Low, High int }

// Binomial returns where the number of hits in n independent trials, each a hit
// with chance p (0 to 1), lies within Sigmas standard deviations.
func Binomial(n int, p float64) Interval {
	mean := float64(n) * p
	reach := Sigmas * math.Sqrt(mean*(1-p))
	return Interval{
		Low:  max(0, int(math.Ceil(mean-reach))),
		High: min(n, int(math.Floor(mean+reach))),
	}
}

// Contains tells whether n lies in the interval.
func (i Interval) Contains(n int) bool { return i.Low <= n && n <= i.High }

// String gives the interval as LOW to HIGH.
func (i Interval) String() string { return fmt.Sprintf("%d to %d", i.Low, i.High) }

// ChangePoint returns the most likely index at which the chance of a hit went
// from before to after: hits[:index] came of the first, hits[index:] of the
// second. It is len(hits) where no change is more likely than one, and the
// first of several equally likely ones. Both chances must be over 0 and under 1.
func ChangePoint(hits []bool, before, after float64) int {
	hit, miss := math.Log(after/before), math.Log((1-after)/(1-before))
	best, bestAt, gain := 0.0, len(hits), 0.0
	for i := len(hits) - 1; i >= 0; i-- {
		if hits[i] {
			gain += hit
		} else {
			gain += miss
		}
		if gain > best || gain == best && bestAt < len(hits) {
			best, bestAt = gain, i
		}
	}
	return bestAt
}
