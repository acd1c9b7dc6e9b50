package figures

import (
	"maps"
	"math"
	"slices"
)

// Histogram holds how many values were in each bucket, by the bucket's upper
// bound, those that hold none among them; the last bound is +Inf. The zero value
// holds none.
type Histogram map[float64]float64

// betweenBounds is of how many values were at most each bound.
func betweenBounds(upTo map[float64]float64) Histogram {
	out, before := Histogram{}, 0.0
	for _, bound := range slices.Sorted(maps.Keys(upTo)) {
		n := max(upTo[bound], before)
		out[bound] = n - before
		before = n
	}
	return out
}

// add adds another one, which may have other buckets.
func (h Histogram) add(o Histogram) Histogram {
	if h == nil {
		h = make(Histogram, len(o))
	}
	for bound, n := range o {
		h[bound] += n
	}
	return h
}

// since is what was added to an earlier state. One that holds less somewhere
// was begun anew.
func (h Histogram) since(before Histogram) Histogram {
	for bound, n := range before {
		if h[bound] < n {
			return h
		}
	}
	out := make(Histogram, len(h))
	for bound, n := range h {
		out[bound] = n - before[bound]
	}
	return out
}

// Count is how many values it holds.
func (h Histogram) Count() (n float64) {
	for _, in := range h {
		n += in
	}
	return n
}

// Quantile is the value below which the share q of all values is, 0 <= q <= 1:
// exact to a bucket, and within one as if its values were spread evenly. Beyond
// the last finite bound it is that bound, and of no values NaN. Source: PromQL's
// histogram_quantile.
func (h Histogram) Quantile(q float64) float64 {
	total := h.Count()
	if total <= 0 || math.IsNaN(q) {
		return math.NaN()
	}
	rank, below, last := min(max(q, 0), 1)*total, 0.0, 0.0
	for _, bound := range slices.Sorted(maps.Keys(h)) {
		in := h[bound]
		if math.IsInf(bound, 1) {
			break
		}
		if in > 0 && below+in >= rank {
			return last + (bound-last)*max(rank-below, 0)/in
		}
		below, last = below+in, bound
	}
	return last
}
