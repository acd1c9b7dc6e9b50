package stat

import (
	"math/rand/v2"
	"testing"
)

func TestBinomialIsFourStandardDeviations(t *testing.T) {
	for _, c := range []struct {
		n    int
		p    float64
		want Interval
	}{
		{1000, 0.9, Interval{863, 937}},     // sigma 9.487
		{1000, 1.0 / 3, Interval{274, 392}}, // sigma 14.907
		{10000, 0.5, Interval{4800, 5200}},  // sigma 50
		{10, 0.1, Interval{0, 4}},           // 1 ± 3.79
		{100, 0, Interval{0, 0}}, {100, 1, Interval{100, 100}}, {0, 0.5, Interval{0, 0}},
	} {
		got := Binomial(c.n, c.p)
		if got != c.want {
			t.Errorf("%d trials at %v: got %v, want %v", c.n, c.p, got, c.want)
		}
		if !got.Contains(got.Low) || !got.Contains(got.High) || got.Contains(got.High+1) || got.Contains(got.Low-1) {
			t.Errorf("%v does not contain what it says", got)
		}
	}
}

func TestBinomialHoldsForAFairCoinAndNotForAnUnfairOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	count := func(p float64) (hits int) {
		for range 1000 {
			if random.Float64() < p {
				hits++
			}
		}
		return hits
	}
	outside := 0
	for range 1000 {
		if !Binomial(1000, 0.5).Contains(count(0.5)) {
			outside++
		}
	}
	if outside > 1 {
		t.Errorf("%d of 1000 fair runs were refused", outside)
	}
	for range 100 {
		if Binomial(1000, 0.5).Contains(count(0.3)) {
			t.Error("a chance of 0.3 passed for 0.5")
		}
	}
}

func TestChangePointFindsTheChange(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		hits := make([]bool, 1000)
		for i := range hits {
			p := 0.1
			if i >= 400 {
				p = 0.5
			}
			hits[i] = random.Float64() < p
		}
		if got := ChangePoint(hits, 0.1, 0.5); got < 360 || got > 440 {
			t.Errorf("got %d, want about 400", got)
		}
	}
}

func TestChangePointWithoutAChange(t *testing.T) {
	if got := ChangePoint(make([]bool, 50), 0.1, 0.5); got != 50 {
		t.Errorf("no hit at all: got %d, want 50", got)
	}
	if got := ChangePoint(nil, 0.1, 0.5); got != 0 {
		t.Errorf("no trial: got %d, want 0", got)
	}
	if got := ChangePoint([]bool{true, true, true}, 0.1, 0.5); got != 0 {
		t.Errorf("hits alone: got %d, want 0", got)
	}
	if got := ChangePoint([]bool{false, false, true, true}, 0.1, 0.5); got != 2 {
		t.Errorf("got %d, want 2", got)
	}
}
