package main

import "testing"

func TestQuantilesAndMedians(t *testing.T) {
	micros := make([]int64, 1000)
	for i := range micros {
		micros[i] = int64(len(micros) - i)
	}
	if got := quantilesOf(micros); got != (quantiles{0.501, 0.901, 0.991}) {
		t.Errorf("got %v", got)
	}
	one := func(busy, direct, meshed float64) turn {
		return turn{busy: busy, by: [ways]quantiles{plain: {p50: direct}, full: {p50: meshed}}}
	}
	turns := []turn{one(0.9, 1, 9), one(0.1, 2, 3), one(0.5, 4, 7), one(0.3, 1, 1)}
	if got := median(turns, added).p50; got != 2 {
		t.Errorf("added %v, want the mean of 1 and 3", got)
	}
	if got := quietest(turns); len(got) != 2 || got[0].busy != 0.1 || got[1].busy != 0.3 || turns[0].busy != 0.9 {
		t.Errorf("quietest %v of %v", got, turns)
	}
}
