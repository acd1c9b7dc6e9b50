package main

import (
	"slices"
	"testing"
	"time"
)

// The bounds are far from what is measured (docs/performance.md), so that a
// busy machine does not break them: shares and failures, no times.
func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		scenario string
		grpc     bool
		among    []policy
		check    func(t *testing.T, by map[string]turn, last int)
	}{
		{"3 hosts, one 10 times slower", false, some("turns", "latency"), slowHost},
		{"3 hosts, one answers 503 at once", false, some("turns", "latency", "reports"), failingHost},
		{"3 hosts, one answers 503 at once", true, some("turns", "latency", "reports"), failingHost},
		{"2 hosts, a third is added", false, some("latency"), addedHost},
	} {
		name := c.scenario
		if c.grpc {
			name += ", gRPC"
		}
		t.Run(name, func(t *testing.T) {
			s := named(t, c.scenario)
			results, err := s.run(t.Context(), load{rate: 100, grpc: c.grpc, length: 1500 * time.Millisecond}, 1, c.among)
			if err != nil {
				t.Fatal(err)
			}
			by := map[string]turn{}
			for _, r := range results {
				by[r.policy] = total(r.turns)
			}
			c.check(t, by, s.hosts-1)
			if t.Failed() {
				t.Logf("\n%s", table(s.hosts-1, results))
			}
		})
	}
}

// some are the policies of these services.
func some(services ...string) (out []policy) {
	for _, p := range policies {
		if slices.Contains(services, p.service) {
			out = append(out, p)
		}
	}
	return out
}

func named(t *testing.T, name string) scenario {
	for _, s := range scenarios {
		if s.name == name {
			return s
		}
	}
	t.Fatalf("no scenario %q", name)
	return scenario{}
}

func slowHost(t *testing.T, by map[string]turn, last int) {
	if share := by["LATENCY_AWARE"].share(last); share > 20 {
		t.Errorf("a host that is 10 times slower got %.1f%% of the requests, a third is all of its part", share)
	}
	if share := by["ROUND_ROBIN"].share(last); share < 25 {
		t.Errorf("in rotation it got %.1f%%: the rig does not measure what it should", share)
	}
}

func failingHost(t *testing.T, by map[string]turn, _ int) {
	for policy, most := range map[string]float64{"LATENCY_AWARE": 8, "LATENCY_AWARE, no outlier detection": 12} {
		if failed := by[policy].failures(); failed > most {
			t.Errorf("%s: %.1f%% failed, at most %.0f%% should: a host that fails fast must not attract requests", policy, failed, most)
		}
	}
	if failed := by["ROUND_ROBIN"].failures(); failed < 25 {
		t.Errorf("in rotation %.1f%% failed: the rig does not measure what it should", failed)
	}
}

// addedHost: a host that is as fast as the others gets about its part at once,
// though it has reported nothing yet.
func addedHost(t *testing.T, by map[string]turn, last int) {
	if share := by["LATENCY_AWARE"].share(last); share < 8 || share > 75 {
		t.Errorf("a host that was added got %.1f%% of the requests, its part is a third", share)
	}
}
