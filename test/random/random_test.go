package random_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/random"
)

var (
	rounds = flag.Int("rounds", 100, "how many sets of random objects to try")
	seed   = flag.Uint64("seed", 1, "of the first set; the next have the next")
)

const wouldNack = "WEFT0201" // a resource that Envoy would refuse

// TestRandomObjectsMakeNothingThatEnvoyRefuses takes objects of every kind
// through the pilot: nothing panics, and what Envoy would refuse is found where
// the object is compiled, not after it was translated. "go test ./test/random
// -rounds 10000 -seed N" tries more.
func TestRandomObjectsMakeNothingThatEnvoyRefuses(t *testing.T) {
	corpus, err := random.Load("../../pilot/testdata")
	if err != nil {
		t.Fatal(err)
	}
	for s := *seed; s < *seed+uint64(*rounds); s++ {
		objects := corpus.Objects(s)
		if said := verdict(corpus.Set(objects)); said != "" {
			objects = random.Shrink(objects, func(less []random.Tree) bool { return reason(verdict(corpus.Set(less))) == reason(said) })
			t.Errorf("seed %d: %.1500s\n%.4000s", s, verdict(corpus.Set(objects)), random.YAML(objects...))
		}
	}
}

// TestEveryNumberAtItsLimits: each number and duration that some case sets, at
// its limits and beyond them, is in force or left out, and nothing is made that
// Envoy refuses.
func TestEveryNumberAtItsLimits(t *testing.T) {
	corpus, err := random.Load("../../pilot/testdata")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for name, objects := range corpus.Limits() {
		tried++
		if said := verdict(corpus.Set(objects)); said != "" {
			t.Errorf("%s: %.1500s", name, said)
		}
	}
	if tried < 500 {
		t.Errorf("%d values were tried: the cases are not read", tried)
	}
}

// TestSeedTellsAll: the same seed makes the same objects.
func TestSeedTellsAll(t *testing.T) {
	for _, kind := range random.Kinds() {
		one, two := random.YAML(random.New(7).Object(kind)), random.YAML(random.New(7).Object(kind))
		if string(one) != string(two) {
			t.Errorf("%s: one seed made\n%s\nand\n%s", kind, one, two)
		}
	}
}

// reason is what a smaller set must have in common with the first.
func reason(said string) string {
	if i := strings.LastIndex(said, ": "); i >= 0 {
		return said[i:]
	}
	return said
}

// verdict says what is wrong with what is made of a set; "": nothing.
func verdict(set config.Set) (said string) {
	defer func() {
		if p := recover(); p != nil {
			said = fmt.Sprintf("panic: %v", p)
		}
	}()
	for _, d := range pilot.Check(set) {
		if d.Code == wouldNack {
			return d.String()
		}
	}
	for _, proxy := range []model.Proxy{
		{Proven: true, Sidecar: true, Name: "reviews-v1", Namespace: "default", Labels: map[string]string{"app": "reviews", "version": "v1"}},
		{Proven: true, Namespace: "weft-system", Labels: map[string]string{"istio": "ingressgateway"}},
	} {
		pilot.Translate(set, proxy)
	}
	return ""
}
