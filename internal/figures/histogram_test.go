package figures

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// bounds are Envoy's, in milliseconds.
var bounds = []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, math.Inf(1)}

func histogram(values []float64) Histogram {
	h := Histogram{}
	for _, b := range bounds {
		h[b] = 0
	}
	for _, v := range values {
		i, _ := slices.BinarySearch(bounds, v)
		h[bounds[i]]++
	}
	return h
}

// A quantile is in the bucket of the value that counting finds, grows with q,
// and merging what two pods counted is counting both.
func TestQuantilesAgainstCountedValues(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		values := make([]float64, 1+rnd.IntN(400))
		for i := range values {
			values[i] = math.Exp(rnd.Float64()*14 - 2) // 0.1 ms to 160 s
		}
		cut := rnd.IntN(len(values))
		h := histogram(values[:cut]).add(histogram(values[cut:]))
		slices.Sort(values)
		before := 0.0
		for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.95, 0.99, 1} {
			got := h.Quantile(q)
			want := values[max(int(math.Ceil(q*float64(len(values)))), 1)-1]
			i, _ := slices.BinarySearch(bounds, want)
			low, high := 0.0, bounds[i]
			if i > 0 {
				low = bounds[i-1]
			}
			if math.IsInf(high, 1) {
				high = low
			}
			if got < min(low, high) || got > high || got < before {
				t.Fatalf("seed %d: quantile %v of %d values is %v after %v, counted %v, in (%v, %v]", seed, q, len(values), got, before, want, low, high)
			}
			before = got
		}
	}
}

func TestQuantileOfNothing(t *testing.T) {
	for _, h := range []Histogram{nil, {}, {1: 0, math.Inf(1): 0}} {
		if got := h.Quantile(0.5); !math.IsNaN(got) {
			t.Errorf("%v: %v", h, got)
		}
	}
	if got := (Histogram{math.Inf(1): 3}).Quantile(0.5); got != 0 {
		t.Errorf("of no finite bound: %v", got)
	}
}

// What came since is what was added; less than before is a new beginning.
func TestHistogramSince(t *testing.T) {
	old := histogram([]float64{1, 2, 70})
	if got := histogram([]float64{1, 2, 70, 3, 300}).since(old); got.Count() != 2 || got[5] != 1 || got[500] != 1 {
		t.Errorf("added: %v", got)
	}
	if got := histogram([]float64{2, 2, 2, 2}).since(old); got.Count() != 4 {
		t.Errorf("begun anew: %v", got)
	}
}
